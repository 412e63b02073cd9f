"""A pixel diffusion model in our own layout: a model folder."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import check_params, is_our_folder, load_folder, save_folder
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading

KIND = "diffusion"


def write(path: str | Path, weights: DiffusionWeights, dtype: DType | None = None) -> Path:
    """Writes the folder; floating-point arrays become `dtype`, None keeps their own."""
    return save_folder(
        path, {"kind": KIND, "model": to_dict(weights.config)}, weights.params, dtype
    )


def _read(path: Path, reading: Reading) -> DiffusionWeights:
    document, params = load_folder(path, reading.param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    with named(path):
        config = from_dict(DiffusionConfig, document.get("model"))
    check_params(path, params, functools.partial(init_params, config))
    return DiffusionWeights(config, jax.tree.map(jnp.asarray, params))


LAYOUT: Layout[DiffusionConfig, DiffusionWeights] = Layout(
    "ours", "config.json with our 'kind'", is_our_folder, _read, write=write
)
