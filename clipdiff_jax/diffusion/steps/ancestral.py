"""The DDPM step (Ho et al. 2020, arXiv 2006.11239, eq. 6 and 7), for any stride t -> s:

    x_s = mean(x0, x_t) + std z                                                            (8)

with z standard normal noise, and the variance that a network may have learned.
"""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Int

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import (
    NoiseSchedule,
    posterior_variance,
    transition_variance,
)


def ancestral(
    schedule: NoiseSchedule, variance: Literal["small", "large", "learned"] = "small"
) -> Step:
    """The DDPM step, eq. 8, for any stride; its last step, to the clean image, adds no noise.

    variance: "small" beta_tilde (the posterior's), "large" beta, or "learned" (Improved DDPM,
        eq. 15), for networks that predict their variance.
    """
    if variance not in ("small", "large", "learned"):
        raise ValueError(f"variance must be 'small', 'large' or 'learned', got {variance!r}")

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        if z is None:
            raise ValueError("ancestral sampling draws noise: give sample() a key or noise")
        t, t_next = match(t, x), match(t_next, x)
        mean = posterior_mean(schedule, x, prediction.x0, t, t_next)
        if variance == "learned":
            if prediction.log_variance_mix is None:
                raise ValueError("variance='learned' needs a network that learned its variance")
            log_variance = learned_log_variance(schedule, t, t_next, prediction.log_variance_mix)
            std = jnp.exp(0.5 * log_variance)
        elif variance == "small":
            std = jnp.sqrt(posterior_variance(schedule, t, t_next))
        else:
            std = jnp.sqrt(transition_variance(schedule, t, t_next))
        return mean + jnp.where(t_next < 0, 0.0, std) * z

    return step


def posterior_mean(
    schedule: NoiseSchedule, x_t: Array, x0: Array, t: Int[Array, "..."], s: Int[Array, "..."]
) -> Array:
    """Mean of q(x_s | x_t, x_0), DDPM eq. 7, for any s < t; t and s scalar or shaped like x_t."""
    beta = transition_variance(schedule, t, s)
    variance_t, variance_s = schedule.sigma(t) ** 2, schedule.sigma(s) ** 2
    of_x0 = schedule.alpha(s) * beta / variance_t
    of_x_t = jnp.sqrt(1 - beta) * variance_s / variance_t
    return of_x0 * x0 + of_x_t * x_t


def learned_log_variance(
    schedule: NoiseSchedule, t: Int[Array, "..."], s: Int[Array, "..."], mix: Array
) -> Array:
    """log variance = mix log beta + (1 - mix) log beta_tilde (Improved DDPM, eq. 15).

    beta_tilde is 0 where s = -1; there, as in that paper's code, the next larger one stands in:
    the posterior variance of step 1 -> 0.
    """
    t_small = jnp.where(s < 0, jnp.maximum(t, 1), t)
    s_small = jnp.maximum(s, 0)
    log_small = jnp.log(posterior_variance(schedule, t_small, s_small))
    log_large = jnp.log(transition_variance(schedule, t, s))
    return mix * log_large + (1 - mix) * log_small
