"""The CLIP image embeddings that the avatars' priors and decoder are trained on.

python -m clipdiff_jax.embed --config configs/unclip/avatars/embed.py --out runs/unclip/embeddings
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.embed import EmbedConfig


def get_config() -> EmbedConfig:
    return EmbedConfig(data=AvatarsData(size=64))
