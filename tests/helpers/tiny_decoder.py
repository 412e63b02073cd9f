"""A small decoder's network and conditioning, and pictures with captions to train it on."""

from dataclasses import replace

from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from helpers.tiny_models import pictures, tiny_base

UNET = replace(
    tiny_base().config.unet, attention_levels=(1,), head_width=8,
    pooled_width=32, pooled_projection=False, context_width=8,
)  # fmt: skip
CONDITIONING = DecoderConditioningConfig(8, 16, pooled_width=32, context_width=8, unit_norm=True)


class Pictures:
    """Four pictures with captions, over and over."""

    fingerprint = "pictures"

    def __init__(self, embeddings=None):
        self.images, self.embeddings = to_uint8(pictures(4)), embeddings

    def __len__(self):
        return 32

    def __getitem__(self, index):
        example = {"image": self.images[index % 4], "captions": ["a face"]}
        if self.embeddings is not None:
            example["embedding"] = self.embeddings[index % 4]
        return example
