"""CLIP as a thing to hold: images of any size and texts in, embeddings out.

Preprocessing is part of it and is JAX, so gradients reach the images: the shorter side is resized
(bicubic, anti-aliased) to what the tower takes, the middle square is cut out and normalised.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.avatars.captions import knowing_avatars
from clipdiff_jax.data.images import Batch, Pictures, read_pictures
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.models.clip import CLIP, CLIPConfig, normalise
from clipdiff_jax.weights.clip_flags import ClipFlags
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import ClipWeights, Layout, Reading
from clipdiff_jax.weights.layouts import clip_ours
from clipdiff_jax.weights.layouts.clip import FILES, LAYOUTS
from clipdiff_jax.weights.loading import DEMO, find_model, read_first
from clipdiff_jax.weights.publishing import Pushable


def preprocess(images: Float[Array, "b h w 3"], size: int) -> Float[Array, "b size size 3"]:
    """Resizes the shorter side to `size` (bicubic, anti-aliased) and cuts out the middle square.

    Differentiable; values may overshoot the range of the input a little at sharp edges.
    """
    height, width = images.shape[1:3]
    shorter = min(height, width)
    if shorter != size:
        height, width = size * height // shorter, size * width // shorter
        shape = (images.shape[0], height, width, 3)
        images = jax.image.resize(images, shape, "bicubic", antialias=True)
    top, left = (height - size) // 2, (width - size) // 2
    return images[:, top : top + size, left : left + size]


def as_seen(batches: Sequence[Batch], size: int) -> Batch:
    """Pictures of one size as they are, of several as `preprocess` shows them to the tower."""
    if len({batch.shape[1:3] for batch in batches}) > 1:
        batches = [_preprocess(batch, size=size) for batch in batches]
    return batches[0] if len(batches) == 1 else jnp.concatenate(batches)


@functools.partial(jax.jit, static_argnames="size")
def _preprocess(images: Array, *, size: int) -> Array:
    return preprocess(images, size)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Clip(Pushable):
    """A CLIP; `params` are both towers', `dtype` is what they compute in."""

    config: CLIPConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    tokenizer: Tokenizer = field(repr=False, metadata={"static": True})
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def embed_images(self, images: Pictures) -> Float[Array, "b d"]:
        """Images in [-1, 1] of any size -> projected embeddings, not normalised.

        images: [B,H,W,3], or what else `data.images.as_images` takes, in a list of any sizes;
            raises as it does.
        """
        size = self.config.vision.image_size
        return _embed_images(self, as_seen(read_pictures(images), size))

    def embed_texts(self, texts: str | Sequence[str]) -> Float[Array, "b d"]:
        """Texts -> projected embeddings, not normalised.

        A text longer than the context is cut, with a warning that names it.
        """
        return self.encode_texts(texts)[0]

    def encode_texts(
        self, texts: str | Sequence[str]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b t w"]]:
        """Texts -> (projected embeddings, last hidden states after the final norm)."""
        return _embed_texts(self, jnp.asarray(self.tokenizer(texts)))

    def save(self, path: str | Path, *, dtype: DType | None = None) -> None:
        """Writes the folder that `load_clip` reads; floating-point arrays become `dtype`."""
        save_clip(path, self.config, self.params, self.tokenizer, dtype=dtype)

    @property
    def temperature(self) -> float:
        """What the cosine of an image and a text is multiplied by before the softmax."""
        return float(jnp.minimum(jnp.exp(self.params["logit_scale"]), 100.0))


@jax.jit
def _embed_images(clip: Clip, images: Array) -> Array:
    pixels = normalise(preprocess(images, clip.config.vision.image_size), clip.config)
    network = CLIP(clip.config, dtype=clip.dtype)
    return run(network, clip.params, pixels, method="embed_images")


@jax.jit
def _embed_texts(clip: Clip, ids: Int[Array, "b t"]) -> tuple[Array, Array]:
    network = CLIP(clip.config, dtype=clip.dtype)
    return run(network, clip.params, ids, method="embed_texts")


def save_clip(
    path: str | Path,
    config: CLIPConfig,
    params: Params,
    tokenizer: Tokenizer,
    *,
    dtype: DType | None = None,
) -> None:
    """Writes the model folder that `load_clip` reads; floating-point arrays become `dtype`."""
    clip_ours.write(path, ClipWeights(config, params, tokenizer), dtype)


def load_clip(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType = jnp.float32,
    tokenizer: Tokenizer | None = None,
    revision: str | None = None,
    flags: ClipFlags | None = None,
    layouts: Sequence[Layout[CLIPConfig, ClipWeights]] = LAYOUTS,
) -> Clip:
    """Loads a CLIP.

    Args:
      source: "demo" (avatar faces at 64 px); one of our model folders or the work folder of a run;
        the folder of a transformers `CLIPModel`, or of an OpenCLIP model (which is preferred where
        one folder is both); a file of OpenAI's original weights; or a repository of the Hugging
        Face Hub in one of these layouts, such as "openai/clip-vit-base-patch16".
      dtype: what the towers compute in.
      param_dtype: what parameters are kept in.
      tokenizer: in place of the source's own. A single file of weights has none, so needs it.
      revision: of a repository on the Hub.
      flags: for a file of weights alone: its activation and heads, which nothing in it tells, and
        which of several state dicts in it (`part`) is meant.
      layouts: which are tried, in this order; add one of your own, see `weights.layout`.

    Raises `WeightsError` if there is no such model, it is incomplete or of another kind, or there
    is no tokenizer beside it.
    """
    path = find_model(source, "clip", others=FILES, revision=revision)
    if flags is not None and path.is_dir():
        raise WeightsError(f"'{path}' is a folder with a config: `flags` are for a file of weights")
    part = None if flags is None else flags.part
    reading = Reading(param_dtype=param_dtype, tokenizer=tokenizer, clip_flags=flags, part=part)
    config, params, tokenizer = read_first(layouts, path, reading)
    tokenizer = knowing_avatars(tokenizer) if source == DEMO else tokenizer
    return Clip(config, params, tokenizer, dtype)
