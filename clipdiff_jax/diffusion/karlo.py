"""Karlo's schedule and step: ancestral sampling in the float32 arithmetic of its release.

The equations are those of `schedule` and `sampler` (squared-cosine betas, eq. 8), but Karlo, and
diffusers' `UnCLIPScheduler` after it, rounds the table of betas and their cumulative product to
float32 *before* subtracting from one, and takes beta from the table where two times are neighbours
and from alpha_bar elsewhere. At t = 0, where 1 - alpha_bar is 4e-5, that changes the last step by
5e-4 of the result, which is more than all else that differs between two implementations.
"""

import functools
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import squared_cosine_betas

_SMALLEST_VARIANCE = 1e-20


@dataclass(frozen=True)
class KarloSchedule:
    """A `NoiseSchedule` of squared-cosine betas in float32. Indices beyond the ends are clamped."""

    num_steps: int = 1000

    def beta(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Variance added by step t - 1 -> t; 0 at t = -1."""
        return _look_up(_tables(self.num_steps)[0], t)

    def alpha_bar(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Cumulative product of 1 - beta; 1 at t = -1."""
        return _look_up(_tables(self.num_steps)[1], t)

    def alpha(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """sqrt(alpha_bar), the scale of the signal."""
        return jnp.sqrt(self.alpha_bar(t))

    def sigma(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """sqrt(1 - alpha_bar), the standard deviation of the noise."""
        return jnp.sqrt(1 - self.alpha_bar(t))

    def logsnr(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """log(alpha^2 / sigma^2); +inf at t = -1."""
        return jnp.log(self.alpha_bar(t)) - jnp.log(1 - self.alpha_bar(t))


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


def _look_up(table: np.ndarray, t: Int[Array, "..."]) -> Float[Array, "..."]:
    return jnp.take(jnp.asarray(table), jnp.asarray(t, jnp.int32) + 1, mode="clip")


@functools.lru_cache(maxsize=8)
def _tables(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (beta, alpha_bar) of num_steps + 1 entries; the first is the clean image, t = -1."""
    beta = np.concatenate([[0.0], squared_cosine_betas(num_steps)]).astype(np.float32)
    kept = np.float32(1) - beta
    return beta, np.cumprod(kept, dtype=np.float64).astype(np.float32)
