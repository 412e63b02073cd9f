"""The CLIP image embeddings that the avatars' priors and decoder are trained on.

clipdiff embed --config unclip/avatars/embed --out runs/unclip/embeddings
"""

from clipdiff_jax.clip.embed import EmbedConfig
from clipdiff_jax.data.sources import AvatarsData


def get_config() -> EmbedConfig:
    return EmbedConfig(data=AvatarsData(size=64))
