"""Noise schedules: how much signal and how much noise there is at each time index.

The forward process is (DDPM, Ho et al. 2020, arXiv 2006.11239, eq. 2 and 4)

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I)                        (1)
    q(x_t | x_0)     = N(alpha(t) x_0, sigma(t)^2 I)                                (2)
    alpha_bar(t) = prod_{s <= t} (1 - beta_s),  alpha = sqrt(alpha_bar),
    sigma = sqrt(1 - alpha_bar),  logsnr = log(alpha_bar / (1 - alpha_bar))         (3)

The DiffusionCLIP paper and some of its descendants write one letter `alpha_t` both for
1 - beta_t and for the cumulative product; here the per-step quantity is always `beta` and the
cumulative one always `alpha_bar`.

Time is an int32 index, 0 .. num_steps - 1 from least to most noise; t = -1 is the clean image
(alpha_bar = 1). Tables are computed in float64 and rounded once to float32, so that sigma at
small t and the differences between neighbouring steps keep their precision.
"""

import functools
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.config import nearest

Betas = Literal["linear", "scaled_linear", "squared_cosine"]


@runtime_checkable
class NoiseSchedule(Protocol):
    """What a sampler, an inversion or a loss asks of a schedule. All values are float32."""

    @property
    def num_steps(self) -> int: ...

    def alpha(self, t: Int[Array, "..."]) -> Float[Array, "..."]: ...

    def sigma(self, t: Int[Array, "..."]) -> Float[Array, "..."]: ...

    def logsnr(self, t: Int[Array, "..."]) -> Float[Array, "..."]: ...


@dataclass(frozen=True)
class DiscreteSchedule:
    """A schedule given by a table of `num_steps` betas.

    betas: "linear" from `beta_start` to `beta_end` (DDPM); "scaled_linear", whose square roots are
        linear (latent diffusion, Rombach et al. 2022, arXiv 2112.10752); or "squared_cosine"
        (Improved DDPM, Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17; betas capped at
        0.999), which has no use for the two end points.

    Indices below -1 or above num_steps - 1 are clamped.
    """

    betas: Betas = "linear"
    num_steps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {self.num_steps}")
        if self.betas not in get_args(Betas):
            raise ValueError(
                f"betas must be one of {', '.join(get_args(Betas))}, got {self.betas!r}."
                f"{nearest(str(self.betas), get_args(Betas))}"
            )
        ends = self.betas != "squared_cosine"
        if ends and not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(
                f"a {self.betas} schedule needs 0 < beta_start <= beta_end < 1, "
                f"got {self.beta_start} and {self.beta_end}"
            )

    def beta(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Variance added by step t - 1 -> t, eq. 1; 0 at t = -1."""
        return _look_up(_tables(self)["beta"], t)

    def alpha_bar(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Cumulative product of 1 - beta, eq. 3; 1 at t = -1."""
        return _look_up(_tables(self)["alpha_bar"], t)

    def alpha(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Scale of the signal, sqrt(alpha_bar), eq. 2."""
        return _look_up(_tables(self)["alpha"], t)

    def sigma(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """Standard deviation of the noise, sqrt(1 - alpha_bar), eq. 2; 0 at t = -1."""
        return _look_up(_tables(self)["sigma"], t)

    def logsnr(self, t: Int[Array, "..."]) -> Float[Array, "..."]:
        """log(alpha^2 / sigma^2), eq. 3; +inf at t = -1."""
        return _look_up(_tables(self)["logsnr"], t)


def transition_variance(
    schedule: NoiseSchedule, t: Int[Array, "..."], s: Int[Array, "..."]
) -> Float[Array, "..."]:
    """beta_{t|s} = 1 - alpha_bar_t / alpha_bar_s, the variance of q(x_t | x_s) for s < t.

    Equal to beta_t where s = t - 1. Taken from logsnr, log alpha_bar = log_sigmoid(logsnr), so
    that neighbouring steps do not cancel.
    """
    log_alpha_bar_t = jax.nn.log_sigmoid(schedule.logsnr(t))
    log_alpha_bar_s = jax.nn.log_sigmoid(schedule.logsnr(s))
    return -jnp.expm1(log_alpha_bar_t - log_alpha_bar_s)


def posterior_variance(
    schedule: NoiseSchedule, t: Int[Array, "..."], s: Int[Array, "..."]
) -> Float[Array, "..."]:
    """beta_tilde, the variance of q(x_s | x_t, x_0) for s < t (DDPM eq. 7, any stride)."""
    return (schedule.sigma(s) / schedule.sigma(t)) ** 2 * transition_variance(schedule, t, s)


def _look_up(table: np.ndarray, t: Int[Array, "..."]) -> Float[Array, "..."]:
    return jnp.take(jnp.asarray(table), jnp.asarray(t, jnp.int32) + 1, mode="clip")


def squared_cosine_betas(num_steps: int) -> Float[np.ndarray, " steps"]:
    """beta_i = min(1 - f(i+1) / f(i), 0.999), f(i) = cos^2((i/T + 0.008) / 1.008 pi/2), float64.

    Improved DDPM, Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17.
    """
    edges = np.arange(num_steps + 1) / num_steps
    level = np.cos((edges + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - level[1:] / level[:-1], 0.999)


@functools.lru_cache(maxsize=64)
def _tables(schedule: DiscreteSchedule) -> dict[str, np.ndarray]:
    """float32 tables of num_steps + 1 entries; the first is the clean image, t = -1."""
    steps = schedule.num_steps
    start, end = schedule.beta_start, schedule.beta_end
    if schedule.betas == "linear":
        beta = np.linspace(start, end, steps, dtype=np.float64)
    elif schedule.betas == "scaled_linear":
        beta = np.linspace(start**0.5, end**0.5, steps, dtype=np.float64) ** 2
    else:
        beta = squared_cosine_betas(steps)
    beta = np.concatenate([[0.0], beta])
    log_alpha_bar = np.cumsum(np.log1p(-beta))
    alpha_bar = np.exp(log_alpha_bar)
    noise = -np.expm1(log_alpha_bar)
    with np.errstate(divide="ignore"):
        logsnr = log_alpha_bar - np.log(noise)
    table = {
        "beta": beta,
        "alpha_bar": alpha_bar,
        "alpha": np.sqrt(alpha_bar),
        "sigma": np.sqrt(noise),
        "logsnr": logsnr,
    }
    return {name: values.astype(np.float32) for name, values in table.items()}
