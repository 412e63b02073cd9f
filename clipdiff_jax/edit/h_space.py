"""A diffusion model with its bottleneck shifted, as a `Denoise`; see `models.h_space`."""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.prediction import Denoise, match
from clipdiff_jax.models.h_space import HSpaceShift
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.model import Diffusion


def init_h_space(config: DiffusionConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32) of the network that shifts the bottleneck of the model."""
    unet = config.unet
    h = jnp.zeros((1, 1, 1, unet.channels[-1]))
    return HSpaceShift(unet).init(key, h, jnp.zeros((1, unet.embedding_width)))["params"]


def shifted_denoiser(
    base: Diffusion, params: Params, strength: float | Float[Array, "..."] = 1.0
) -> Denoise:
    """The base model with `strength` (scalar or [B]) times the shift that `params` give."""
    network = HSpaceShift(base.config.unet, dtype=base.dtype)

    def shift(h: Array, emb: Array) -> Array:
        scale = match(jnp.asarray(strength, base.dtype), h)
        return scale * run(network, params, h, emb)

    return functools.partial(base.denoise, bottleneck_shift=shift)
