"""The embeddings that unCLIP's priors and decoder are trained on, at full scale.

clipdiff embed --config unclip/paper/embed --out runs/paper/embeddings
"""

from clipdiff_jax.clip.embed import EmbedConfig
from clipdiff_jax.data.folder import FolderData


def get_config() -> EmbedConfig:
    return EmbedConfig(
        data=FolderData("data/images", on_error="skip"),
        clip="runs/paper/clip",
        batch_size=1024,
        dtype="bfloat16",
    )
