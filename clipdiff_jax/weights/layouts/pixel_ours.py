"""A pixel diffusion model in our own layout: a model folder."""

from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import is_our_folder, load_folder, save_folder
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
    config = from_dict(DiffusionConfig, document["model"])
    return DiffusionWeights(config, jax.tree.map(jnp.asarray, params))


LAYOUT: Layout[DiffusionConfig, DiffusionWeights] = Layout(
    "ours", "config.json with our 'kind'", is_our_folder, _read, write=write
)
