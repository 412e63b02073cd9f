"""Unconditional samples of a diffusion model, each of which depends on its own key alone."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.diffusion.sampler import ddim, even_grid, sample, step_noise
from clipdiff_jax.pipelines.diffusion import Diffusion, DiffusionConfig, denoiser


def generate(
    base: Diffusion, keys: Key[Array, " n"], *, steps: int = 40, eta: float = 0.0
) -> Float[Array, "n h w c"]:
    """One picture in [-1, 1] a key, by DDIM over `steps` evenly spread times, x0 clipped.

    Changing keys or eta compiles nothing new.
    """
    times = even_grid(base.config.schedule.num_steps, steps)
    return _generate(base.config, base.dtype, base.params, times, jnp.float32(eta), keys)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _generate(
    config: DiffusionConfig, dtype: Any, params: Any, times: Array, eta: Array, keys: Array
) -> Array:
    size, channels = config.image_size, config.unet.in_channels
    start = step_noise(keys, len(times), (len(keys), size, size, channels))
    denoise = denoiser(config, params, dtype=dtype, clip=1.0)
    return jnp.clip(sample(denoise, ddim(config.schedule, eta), times, start, None, keys), -1, 1)
