"""Embeddings to fine-tune Karlo's prior on: OpenAI's ViT-L/14, of captioned images of your own.

    clipdiff embed --config unclip/karlo/embed --out OUT \
        --config.data.path=FOLDER   # OUT is runs/karlo/embeddings in prior.py
"""

from clipdiff_jax.clip.embed import EmbedConfig
from clipdiff_jax.data.folder import FolderData


def get_config() -> EmbedConfig:
    return EmbedConfig(
        data=FolderData("data/images", on_error="skip"), clip="openai/clip-vit-large-patch14"
    )
