"""Karlo's schedule, in the float32 arithmetic of its release; `steps.karlo` is the step on it.

The equations are those of `schedule` (squared-cosine betas) and `steps.ancestral` (eq. 8), but
Karlo, and diffusers' `UnCLIPScheduler` after it, rounds the table of betas and their cumulative
product to float32 *before* subtracting from one, and takes beta from the table where two times are
neighbours and from alpha_bar elsewhere. At t = 0, where 1 - alpha_bar is 4e-5, that changes the
last step by 5e-4 of the result, which is more than everything else that differs between two
implementations.
"""

import functools
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.schedule import squared_cosine_betas


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


def _look_up(table: np.ndarray, t: Int[Array, "..."]) -> Float[Array, "..."]:
    return jnp.take(jnp.asarray(table), jnp.asarray(t, jnp.int32) + 1, mode="clip")


@functools.lru_cache(maxsize=8)
def _tables(num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 (beta, alpha_bar) of num_steps + 1 entries; the first is the clean image, t = -1."""
    beta = np.concatenate([[0.0], squared_cosine_betas(num_steps)]).astype(np.float32)
    kept = np.float32(1) - beta
    return beta, np.cumprod(kept, dtype=np.float64).astype(np.float32)
