"""CLIP as a thing to hold: images of any size and texts in, embeddings out.

Preprocessing is part of it and is JAX, so gradients reach the images: the shorter side is resized
(bicubic, anti-aliased) to what the tower takes, the middle square is cut out and normalised.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.checks import check_floats
from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import Tokenizer, load_tokenizer
from clipdiff_jax.models.clip import CLIP, CLIPConfig, init_params, normalise
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import (
    demo_folder,
    is_our_folder,
    load_folder,
    model_folder,
    read_config,
    save_folder,
)
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layouts import clip_openai, clip_openclip, clip_transformers
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, import_params

KIND = "clip"
DEMO = "demo"
PREPROCESSOR = "preprocessor_config.json"
_FILES = ("*.json", "merges.txt")  # what a repository must have beside the weights


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


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP; `params` are both towers', `dtype` is what they compute in."""

    config: CLIPConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    tokenizer: Tokenizer = field(repr=False, metadata={"static": True})
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def embed_images(self, images: Float[Array | np.ndarray, "b h w 3"]) -> Float[Array, "b d"]:
        """Images in [-1, 1] of any size -> projected embeddings, not normalised.

        Raises `TypeError` for integer images: theirs is another range.
        """
        check_floats(images)
        return _embed_images(self, jnp.asarray(images))

    def embed_texts(self, texts: Sequence[str]) -> Float[Array, "b d"]:
        """Texts -> projected embeddings, not normalised.

        A text longer than the context is cut, with a warning that names it.
        """
        return self.encode_texts(texts)[0]

    def encode_texts(
        self, texts: Sequence[str]
    ) -> tuple[Float[Array, "b d"], Float[Array, "b t w"]]:
        """Texts -> (projected embeddings, last hidden states after the final norm)."""
        return _embed_texts(self, jnp.asarray(self.tokenizer(texts)))

    @property
    def temperature(self) -> float:
        """What the cosine of an image and a text is multiplied by before the softmax."""
        return float(jnp.minimum(jnp.exp(self.params["logit_scale"]), 100.0))


@jax.jit
def _embed_images(clip: Clip, images: Array) -> Array:
    pixels = normalise(preprocess(images, clip.config.vision.image_size), clip.config)
    network: Any = CLIP(clip.config, dtype=clip.dtype)
    return network.apply({"params": clip.params}, pixels, method="embed_images")


@jax.jit
def _embed_texts(clip: Clip, ids: Int[Array, "b t"]) -> tuple[Array, Array]:
    network: Any = CLIP(clip.config, dtype=clip.dtype)
    return network.apply({"params": clip.params}, ids, method="embed_texts")


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


def load_clip(
    source: str | Path,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    tokenizer: Tokenizer | None = None,
    revision: str | None = None,
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

    Raises `WeightsError` if there is no such model, it is incomplete or of another kind, and
    `TokenizerError` if there is no tokenizer beside it.
    """
    path = demo_folder("clip") if source == DEMO else model_folder(locate(source, _FILES, revision))
    if path.is_file():
        config, params = _read_openai(path, param_dtype)
        if tokenizer is None:
            raise WeightsError(
                f"'{path}' holds weights only: give `tokenizer`, for OpenAI's models that of any "
                "transformers folder of theirs, by clipdiff_jax.data.tokenize.load_tokenizer"
            )
    elif is_our_folder(path):
        config, params = read_clip(path, param_dtype=param_dtype)
        params = jax.tree.map(jnp.asarray, params)
    elif (weights := clip_openclip.find_weights(path)) is not None:
        config, params = _read_openclip(weights, param_dtype)
    else:
        config, params = _read_transformers(path, param_dtype)
    if tokenizer is None:
        tokenizer = load_tokenizer(path, config.text.context_length)
    return Clip(config, params, tokenizer, dtype)


def _read_transformers(folder: Path, param_dtype: Any) -> tuple[CLIPConfig, Any]:
    preprocessor = read_config(folder, PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else None
    config = clip_transformers.read_config(read_config(folder), preprocessor)
    tensors = open_tensors(folder)
    return config, _import(clip_transformers.TABLE, tensors, config, param_dtype)


def _read_openclip(weights: Path, param_dtype: Any) -> tuple[CLIPConfig, Any]:
    config = clip_openclip.read_config(read_config(weights.parent, clip_openclip.CONFIG))
    return config, _import(clip_openai.table(config), open_tensors(weights), config, param_dtype)


def _read_openai(file: Path, param_dtype: Any) -> tuple[CLIPConfig, Any]:
    tensors = open_tensors(file)
    config = clip_openai.infer_config({name: array.shape for name, array in tensors.items()})
    return config, _import(clip_openai.table(config), tensors, config, param_dtype)


def _import(table: Table, tensors: Any, config: CLIPConfig, param_dtype: Any) -> Any:
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return import_params(table, tensors, shapes, dtype=param_dtype, place=on_device)
