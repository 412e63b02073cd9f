"""A CLIP in our own layout: a model folder with its tokenizer."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.clip import CLIPConfig, init_params
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import check_params, is_our_folder, load_folder, save_folder
from clipdiff_jax.weights.layout import ClipWeights, Layout, Reading

KIND = "clip"


def write(path: str | Path, weights: ClipWeights, dtype: DType | None = None) -> Path:
    """Writes the folder; floating-point arrays become `dtype`, None keeps their own."""
    config, params, tokenizer = weights
    document = {"kind": KIND, "clip": to_dict(config)}
    return save_folder(path, document, params, dtype, extra_files=tokenizer.files())


def read_towers(
    path: str | Path, param_dtype: DType | None = jnp.float32
) -> tuple[CLIPConfig, Params]:
    """Config and host parameters, without the tokenizer.

    Raises `WeightsError` if the folder is missing, incomplete or of another kind.
    """
    document, params = load_folder(path, param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    with named(Path(path)):
        config = from_dict(CLIPConfig, document.get("clip"))
    check_params(path, params, functools.partial(init_params, config))
    return config, params


def _read(path: Path, reading: Reading) -> ClipWeights:
    config, params = read_towers(path, reading.param_dtype)
    tokenizer = reading.tokenizer or load_tokenizer(path, config.text.context_length)
    return ClipWeights(config, jax.tree.map(jnp.asarray, params), tokenizer)


LAYOUT: Layout[CLIPConfig, ClipWeights] = Layout(
    "ours", "config.json with our 'kind'", is_our_folder, _read, write=write
)
