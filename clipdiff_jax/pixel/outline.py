"""A diffusion model of which only shapes matter, for programs that are compiled and not run."""

from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.core.types import DType
from clipdiff_jax.models.pixel import init_params
from clipdiff_jax.models.presets import PUBLISHED_BASES
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import blank_of


def outline_diffusion(
    source: str, *, dtype: DType = jnp.float32, param_dtype: DType = jnp.float32
) -> Diffusion:
    """The model that `load_diffusion` would load, its parameters as shapes.

    A published model need not be here. Raises as `load_diffusion` does.
    """
    if source in PUBLISHED_BASES and not Path(source).exists():
        config = PUBLISHED_BASES[source]
        shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
        return Diffusion(config, blank_of(shapes, param_dtype), dtype)
    base = load_diffusion(source, dtype=dtype)
    return Diffusion(base.config, blank_of(base.params, param_dtype), dtype)
