"""Heun's step: DDIM's differential equation to second order, two evaluations per step.

Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn. In its coordinates, x_t / alpha_t
with the noise level s_t = sigma_t / alpha_t, the equation is d(x / alpha) / ds = eps. From t to u

    x_u / alpha_u = x_t / alpha_t + (s_u - s_t) (eps(x_t, t) + eps(x_u', u)) / 2          (23)

with x_u' the step by eps(x_t, t) alone, which is DDIM's (eq. 7). The step to the clean image, where
there is no noise to predict, is DDIM's too.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Reevaluating
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim


def heun(schedule: NoiseSchedule) -> Reevaluating:
    """The step of eq. 23; deterministic."""
    euler = ddim(schedule)

    def step(
        again: Callable[[Array, Array], Prediction],
        x: Array,
        prediction: Prediction,
        t: Array,
        t_next: Array,
        z: Array | None,
    ) -> Array:
        guess = euler(x, prediction, t, t_next, z)
        slope = again(guess, jnp.maximum(t_next, 0)).eps
        t, t_next = match(t, x), match(t_next, x)
        alpha, alpha_next = schedule.alpha(t), schedule.alpha(t_next)
        levels = schedule.sigma(t_next) / alpha_next - schedule.sigma(t) / alpha
        moved = alpha_next * (x / alpha + levels * (prediction.eps + slope) / 2)
        return jnp.where(t_next < 0, guess, moved)

    return Reevaluating(step)
