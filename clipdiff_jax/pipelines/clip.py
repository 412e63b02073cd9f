"""CLIP as a thing to hold: images of any size and texts in, embeddings out.

Preprocessing is part of it and is JAX, so gradients reach the images: the shorter side is resized
(bicubic, anti-aliased) to what the tower takes, the middle square is cut out and normalised.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from clipdiff_jax.config import from_dict, to_dict
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer
from clipdiff_jax.models.clip import CLIP, CLIPConfig, normalise
from clipdiff_jax.weights import WeightsError, demo_folder, load_folder, save_folder

KIND = "clip"
DEMO = "demo"


def init_params(config: CLIPConfig, key: Array) -> Any:
    """New parameters (float32)."""
    size = config.vision.image_size
    pixels, ids = jnp.zeros((1, size, size, 3)), jnp.zeros((1, config.text.context_length), int)
    return CLIP(config).init(key, pixels, ids)["params"]


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


@dataclass(frozen=True, eq=False)
class Clip:
    """A loaded CLIP. Arrays live in `params`; `dtype` is what the towers compute in."""

    config: CLIPConfig
    params: Any
    tokenizer: Tokenizer
    dtype: Any = jnp.float32

    def embed_images(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Images in [-1, 1] of any size -> projected embeddings, not normalised."""
        return _embed_images(self.config, self.dtype, self.params, images)

    def embed_texts(self, texts: Sequence[str]) -> Float[Array, "b d"]:
        """Texts -> projected embeddings, not normalised.

        A text longer than the context is cut, with a warning that names it.
        """
        return self.encode_texts(texts)[0]

    def encode_texts(
        self, texts: Sequence[str]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b t w"]]:
        """Texts -> (projected embeddings, last hidden states after the final norm)."""
        ids = jnp.asarray(self.tokenizer(texts))
        return _embed_texts(self.config, self.dtype, self.params, ids)

    @property
    def temperature(self) -> float:
        """What the cosine of an image and a text is multiplied by before the softmax."""
        return float(min(jnp.exp(jnp.float32(self.params["logit_scale"])), 100.0))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed_images(config: CLIPConfig, dtype: Any, params: Any, images: Array) -> Array:
    pixels = normalise(preprocess(images, config.vision.image_size), config)
    return CLIP(config, dtype=dtype).apply({"params": params}, pixels, method="embed_images")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _embed_texts(
    config: CLIPConfig, dtype: Any, params: Any, ids: Int[Array, "b t"]
) -> tuple[Array, Array]:
    return CLIP(config, dtype=dtype).apply({"params": params}, ids, method="embed_texts")


def save_clip(
    path: str | Path, config: CLIPConfig, params: Any, tokenizer: Tokenizer, *, dtype: Any = None
) -> None:
    """Writes the model folder that `load_clip` reads; floating-point arrays become `dtype`."""
    document = {"kind": KIND, "clip": to_dict(config)}
    save_folder(path, document, params, dtype, extra_files=tokenizer.files())


def read_clip(path: str | Path, *, param_dtype: Any = jnp.float32) -> tuple[CLIPConfig, Any]:
    """Config and host parameters of one of our own model folders.

    Raises `WeightsError` if the folder is missing, incomplete or of another kind.
    """
    document, params = load_folder(path, param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    return from_dict(CLIPConfig, document["clip"]), params


def load_clip(source: str | Path, *, dtype: Any = jnp.float32) -> Clip:
    """Loads a CLIP from one of our folders, or the built-in one of the avatars as "demo".

    Raises `WeightsError` if the folder is missing, incomplete or of another kind.
    """
    folder = demo_folder("clip") if source == DEMO else Path(source)
    config, params = read_clip(folder)
    params = jax.tree.map(jnp.asarray, params)
    return Clip(config, params, load_tokenizer(folder, config.text.context_length), dtype)
