"""CLIP's two towers as parts of an unCLIP: texts and images in, what the other parts see of them.

An unCLIP may have either without the other, so they are two objects, where `clip.model.Clip` is
one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.clip.model import Clip, as_seen, preprocess
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.images import Batch, Pictures, read_pictures
from clipdiff_jax.models.clip import CLIPConfig, end_of_text, normalise
from clipdiff_jax.models.unclip import (
    ImageEncoder,
    TextEncoder,
    TextFeatures,
    image_tower,
    text_tower,
)
from clipdiff_jax.weights.layouts.unclip_ours import towers_of


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class TextTower:
    """CLIP's text tower; `params` are {"text": the network's}, `dtype` is what it computes in."""

    config: TextEncoder = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def encode(
        self,
        ids: Int[Array | np.ndarray, "b t"],
        counts: Int[Array | np.ndarray, " b"] | None = None,
    ) -> TextFeatures:
        """Token ids -> the features of the texts, float32.

        counts: how many tokens of each are not padding; None for those to the first end mark.
        """
        ids = jnp.asarray(ids)
        if counts is None:
            counts = end_of_text(ids, self.config.tower.eos_token_id) + 1
        return _encode(self, ids, jnp.asarray(counts))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class ImageTower:
    """CLIP's image tower; `params` are {"vision": the network's}, `dtype` is what it computes in"""

    config: ImageEncoder = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def embed(self, images: Pictures) -> Float[Array, "b d"]:
        """Pictures of any sizes -> embeddings as projected, not normalised.

        Raises as `data.images.as_images` does.
        """
        return self.embed_batches(read_pictures(images))

    def embed_batches(self, batches: Sequence[Batch]) -> Float[Array, "b d"]:
        """The same of pictures that are checked."""
        return _embed(self, as_seen(batches, self.config.tower.image_size))


def towers(clip: Clip, dtype: DType | None = None) -> tuple[TextTower, ImageTower]:
    """A CLIP's towers, computing in `dtype`, or in the CLIP's own."""
    text, image = towers_of(clip.config)
    kind = clip.dtype if dtype is None else dtype
    return (
        TextTower(text, {"text": clip.params["text"]}, kind),
        ImageTower(image, {"vision": clip.params["vision"]}, kind),
    )


@jax.jit
def _encode(tower: TextTower, ids: Int[Array, "b t"], counts: Int[Array, " b"]) -> TextFeatures:
    network = text_tower(tower.config, tower.dtype)
    embedding, hidden = run(network, tower.params["text"], ids)
    mask = jnp.arange(ids.shape[1]) < counts[:, None]
    return TextFeatures(embedding.astype(jnp.float32), hidden.astype(jnp.float32), mask, ids)


@jax.jit
def _embed(tower: ImageTower, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
    config = tower.config
    clip = CLIPConfig(config.tower, image_mean=config.mean, image_std=config.std)
    pixels = normalise(preprocess(images, config.tower.image_size), clip)
    embedding = run(image_tower(config, tower.dtype), tower.params["vision"], pixels)
    return embedding.astype(jnp.float32)
