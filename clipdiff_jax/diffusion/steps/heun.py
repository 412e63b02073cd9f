"""Heun's step: DDIM's differential equation to second order, two evaluations per step.

Karras et al. 2022, arXiv 2206.00364, algorithm 1 without churn. In its coordinates, x_t / alpha_t
with the noise level s_t = sigma_t / alpha_t, the equation is d(x / alpha) / ds = eps. From t to u

    x_u / alpha_u = x_t / alpha_t + (s_u - s_t) (eps(x_t, t) + eps(x_u', u)) / 2          (23)

with x_u' the step by eps(x_t, t) alone, which is DDIM's (eq. 7). The step to the clean image, where
there is no noise to predict, is DDIM's too.

So are steps that are too long for the mean of two slopes. For data of deviation c the slope at high
noise is x / s_t (1 - c^2 / s_t^2): the mean over-corrects by about s_t / s_u, and is worse than
DDIM's step where that is above 2: on a cosine schedule, whose first levels are in the thousands,
25 steps would end several deviations off. Below s_t = 1/2 corrections are small and help.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Reevaluating
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim

RATIO, LOW = 2.0, 0.5  # levels between which the mean of slopes is used: s_t <= RATIO s_u, or LOW


def heun(schedule: NoiseSchedule) -> Reevaluating:
    """The step of eq. 23, and DDIM's where that step is too long; deterministic."""
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
        before, after = (schedule.sigma(u) / schedule.alpha(u) for u in (t, t_next))
        corrected = guess + schedule.alpha(t_next) * (after - before) * (slope - prediction.eps) / 2
        short = (before <= RATIO * after) | (before <= LOW)
        return jnp.where(short & (t_next >= 0), corrected, guess)

    return Reevaluating(step)
