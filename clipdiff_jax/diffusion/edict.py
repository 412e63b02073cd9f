"""Exact inversion by two coupled samples (EDICT, Wallace et al. 2022, arXiv 2211.12446).

A DDIM step from t to s < t is affine in the sample and in eps,

    x_s = a x_t + b eps(x_t, t),   a = alpha_s / alpha_t,   b = sigma_s - alpha_s sigma_t / alpha_t

and cannot be undone because eps was taken at the x_t that one would have to know. Carrying two
samples x and y, each moved by the eps of the other and then drawn together (section 3.3),

    x' = a x_t + b eps(y_t, t)          x_s = p x' + (1 - p) y'
    y' = a y_t + b eps(x', t)           y_s = p y' + (1 - p) x_s                          (11)

every line can be solved for its first term, whatever eps is:

    y' = (y_s - (1 - p) x_s) / p        y_t = (y' - b eps(x', t)) / a
    x' = (x_s - (1 - p) y') / p         x_t = (x' - b eps(y_t, t)) / a                    (12)

so that inversion followed by generation returns the picture to rounding, at two evaluations per
step. x and y change places after each step, so that neither is always moved first.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.prediction import Cond, Denoise
from clipdiff_jax.diffusion.sampler import Steps, scanned
from clipdiff_jax.diffusion.schedule import NoiseSchedule

MIXING = 0.93


class Pair(NamedTuple):
    """The two coupled samples, both shaped [B, ...]; x is the one that the next step moves first.

    Which of the two that is changes with every step. At the clean end both are the picture.
    """

    x: Array
    y: Array


def sample_coupled(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    pair: Pair,
    cond: Cond = None,
    *,
    mixing: float = MIXING,
) -> Pair:
    """Walk the pair down the descending grid `times` by eq. 11; float32.

    mixing: p. Towards 1 the samples drift apart, towards 0.5 they are drawn together and rounding
        grows by 1 / p^2 per step on the way up.

    Costs 2 (len(times) - 1) evaluations.
    """
    return scanned(coupled(denoise, schedule, times, pair, cond, mixing=mixing))


def coupled(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    pair: Pair,
    cond: Cond = None,
    *,
    mixing: float = MIXING,
) -> Steps:
    """The walk of `sample_coupled` taken apart."""
    times = jnp.asarray(times, jnp.int32)

    def body(pair: Pair, ends: tuple[Array, Array]) -> tuple[Pair, None]:
        t, t_next = ends
        a, b = _coefficients(schedule, t, t_next)
        x = a * pair.x + b * denoise(pair.y, t, cond).eps
        y = a * pair.y + b * denoise(x, t, cond).eps
        x = mixing * x + (1 - mixing) * y
        y = mixing * y + (1 - mixing) * x
        return Pair(x=y, y=x), None

    start = Pair(pair.x.astype(jnp.float32), pair.y.astype(jnp.float32))
    return Steps(start, body, (times[:-1], times[1:]))


def invert_coupled(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    mixing: float = MIXING,
) -> Pair:
    """Walk x0 up the ascending grid `times` by eq. 12: the pair that `sample_coupled` undoes.

    times: `ddim_grid(t0, steps)[::-1]`, all the steps of generation. mixing: the same as there.
    """
    return scanned(coupled_upwards(denoise, schedule, times, x0, cond, mixing=mixing))


def coupled_upwards(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    mixing: float = MIXING,
) -> Steps:
    """The walk of `invert_coupled` taken apart."""
    times = jnp.asarray(times, jnp.int32)

    def body(pair: Pair, ends: tuple[Array, Array]) -> tuple[Pair, None]:
        t_next, t = ends
        a, b = _coefficients(schedule, t, t_next)
        y = (pair.x - (1 - mixing) * pair.y) / mixing
        x = (pair.y - (1 - mixing) * y) / mixing
        y = (y - b * denoise(x, t, cond).eps) / a
        x = (x - b * denoise(y, t, cond).eps) / a
        return Pair(x, y), None

    x0 = x0.astype(jnp.float32)
    return Steps(Pair(x0, x0), body, (times[:-1], times[1:]))


def _coefficients(schedule: NoiseSchedule, t: Array, s: Array) -> tuple[Array, Array]:
    """a and b of the step from t to s."""
    a = schedule.alpha(s) / schedule.alpha(t)
    return a, schedule.sigma(s) - a * schedule.sigma(t)
