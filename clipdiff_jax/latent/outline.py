"""A latent diffusion model of which only shapes matter, for programs compiled and not run."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.core.types import DType
from clipdiff_jax.data.blank import blank_tokenizer
from clipdiff_jax.latent.load import is_latent, load_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.latent import LatentConfig, init_params, init_text
from clipdiff_jax.models.presets import PUBLISHED_LATENTS, PUBLISHED_UNCLIPS
from clipdiff_jax.weights.params import blank_of


def outline_latent(
    source: str, *, dtype: DType = jnp.float32, param_dtype: DType = jnp.float32
) -> LatentDiffusion:
    """The model that `load_latent` would load, its parameters as shapes.

    A published model need not be here; its tokenizers are of no use. Raises as `load_latent` does.
    """
    if source in PUBLISHED_LATENTS and not Path(source).exists():
        return _outline(PUBLISHED_LATENTS[source], dtype, param_dtype)
    model = load_latent(source, dtype=dtype)
    return jax.tree.map(lambda leaf: blank_of(leaf, param_dtype), model)


def is_outlined_latent(source: str) -> bool:
    """Whether `outline_latent` takes a source. Raises as `is_latent` does of what is not here."""
    if source in PUBLISHED_UNCLIPS:
        return False
    return source in PUBLISHED_LATENTS or is_latent(source)


def _outline(config: LatentConfig, dtype: DType, param_dtype: DType) -> LatentDiffusion:
    key = jax.random.key(0)
    shapes = jax.eval_shape(partial(init_params, config), key)
    texts = tuple(jax.eval_shape(partial(init_text, one), key) for one in config.texts)
    return LatentDiffusion(
        config,
        blank_of(shapes["unet"], param_dtype),
        blank_of(shapes["autoencoder"], param_dtype),
        tuple(blank_of(one, param_dtype) for one in texts),
        tuple(blank_tokenizer(one.tower.context_length) for one in config.texts),
        dtype=dtype,
    )
