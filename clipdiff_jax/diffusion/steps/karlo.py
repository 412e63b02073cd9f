"""Karlo's step: ancestral sampling in the arithmetic of its release, see `diffusion.karlo`."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Step

_SMALLEST_VARIANCE = 1e-20


def karlo_step(schedule: KarloSchedule, variance: Literal["small", "learned"]) -> Step:
    """The step x_t -> x_s of DDPM, eq. 8, for any stride; the one to the clean image adds no noise.

    variance: "small", the posterior's (`fixed_small_log` in diffusers), or "learned", interpolated
        between that and beta (`learned_range`; Improved DDPM, arXiv 2102.09672, eq. 15).

    The step raises `ValueError` without noise, and for a learned variance that nothing predicted.
    """

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        if z is None:
            raise ValueError("ancestral sampling draws noise: give sample() a key or noise")
        t, t_next = match(t, x), match(t_next, x)
        alpha_bar, alpha_bar_next = schedule.alpha_bar(t), schedule.alpha_bar(t_next)
        neighbours = t_next == t - 1
        beta = jnp.where(neighbours, schedule.beta(t), 1 - alpha_bar / alpha_bar_next)
        of_x0 = jnp.sqrt(alpha_bar_next) * beta / (1 - alpha_bar)
        of_x = jnp.sqrt(1 - beta) * (1 - alpha_bar_next) / (1 - alpha_bar)
        small = (1 - alpha_bar_next) / (1 - alpha_bar) * beta
        log_variance = jnp.log(jnp.maximum(small, _SMALLEST_VARIANCE))
        if variance == "learned":
            mix = prediction.log_variance_mix
            if mix is None:
                raise ValueError("variance='learned' needs a network that learned its variance")
            log_variance = mix * jnp.log(beta) + (1 - mix) * log_variance
        std = jnp.where(t_next < 0, 0.0, jnp.exp(0.5 * log_variance))
        return of_x0 * prediction.x0 + of_x * x + std * z

    return step
