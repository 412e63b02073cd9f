"""A diffusion model with its bottleneck shifted, as a `Denoise`; see `models.h_space`."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.diffusion.prediction import Denoise, make_denoise, match
from clipdiff_jax.models.h_space import HSpaceShift
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.model import Diffusion


def init_h_space(config: DiffusionConfig, key: Array) -> Any:
    """New parameters (float32) of the network that shifts the bottleneck of the model."""
    unet = config.unet
    h = jnp.zeros((1, 1, 1, unet.channels[-1]))
    return HSpaceShift(unet).init(key, h, jnp.zeros((1, unet.embedding_width)))["params"]


def shifted_denoiser(
    config: DiffusionConfig,
    base_params: Any,
    params: Any,
    strength: float | Float[Array, "..."] = 1.0,
    *,
    dtype: Any = jnp.float32,
) -> Denoise:
    """The base model with `strength` (scalar or [B]) times the shift that `params` give."""
    network: Any = HSpaceShift(config.unet, dtype=dtype)

    def shift(h: Array, emb: Array) -> Array:
        scale = match(jnp.asarray(strength, dtype), h)
        return scale * network.apply({"params": params}, h, emb)

    def shifted(x_t: Array, t: Array, cond: Any) -> Array:
        return Diffusion(config, base_params, dtype).apply(x_t, t, bottleneck_shift=shift)

    return make_denoise(shifted, config.schedule, config.prediction, config.learned_variance)
