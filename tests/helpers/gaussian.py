"""Data from N(mean, std^2): its ideal denoiser and its DDIM map are known in closed form."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.diffusion.grids import step_grid
from clipdiff_jax.diffusion.prediction import from_x0, to_target
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule()
MEAN, STD = 0.3, 0.4


def ideal_network(target, schedule=SCHEDULE):
    """E[target | x_t] for x [B, ...]: what a network trained to perfection would output."""

    def network(x, t, cond):
        shape = (-1,) + (1,) * (x.ndim - 1)
        alpha, sigma = schedule.alpha(t).reshape(shape), schedule.sigma(t).reshape(shape)
        pull = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
        x0 = MEAN + pull * (x - alpha * MEAN)
        eps = (x - alpha * x0) / sigma
        return to_target(target, schedule, t, x0, eps)

    return network


def table(schedule=SCHEDULE):
    """float64 alpha and sigma as functions of a Python int, computed apart from the package."""
    beta = np.linspace(schedule.beta_start, schedule.beta_end, schedule.num_steps)
    abar = np.concatenate([np.cumprod(1 - beta), [1.0]])
    return lambda t: np.sqrt(abar[t]), lambda t: np.sqrt(1 - abar[t])


def moments(times, std_of_noise):
    """Mean and variance at the end of `times` of a sampler x' = a' x0 + c2 eps + c1 z, exactly.

    std_of_noise(t, s) is c1; the start is the true marginal at times[0].
    """
    alpha, sigma = table()
    a, s = alpha(times[0]), sigma(times[0])
    mean, variance = a * MEAN, a**2 * STD**2 + s**2
    for t, t_next in itertools.pairwise(times):
        a, s, an, sn = alpha(t), sigma(t), alpha(t_next), sigma(t_next)
        c1 = std_of_noise(t, t_next)
        c2 = np.sqrt(max(sn**2 - c1**2, 0))
        total = a**2 * STD**2 + s**2
        slope = an * a * STD**2 / total + c2 * s / total
        mean = an * MEAN + slope * (mean - a * MEAN)
        variance = slope**2 * variance + c1**2
    return mean, variance


def posterior_std(t, s):
    alpha, sigma = table()
    if s < 0:
        return 0.0
    return np.sqrt((1 - alpha(t) ** 2 / alpha(s) ** 2) * sigma(s) ** 2 / sigma(t) ** 2)


def as_float(x):
    return float(jnp.asarray(x))


def flow_error(schedule, step, steps):
    """Root mean square distance from the exact flow of N(MEAN, STD^2), on the grid of user calls.

    It begins at the last time of the schedule and goes to the clean data.
    """
    var = STD**2

    def denoise(x, t, cond):
        a, s = schedule.alpha(t), schedule.sigma(t)
        return from_x0(schedule, x, t, MEAN + a * var / (a * a * var + s * s) * (x - a * MEAN))

    last = jnp.int32(schedule.num_steps - 1)
    a, s = float(schedule.alpha(last)), float(schedule.sigma(last))
    x = jax.random.normal(jax.random.key(0), (256, 1))
    exact = MEAN + STD * (x - a * MEAN) / np.sqrt(a * a * var + s * s)
    made = sample(denoise, step, step_grid(schedule.num_steps, steps), x, None, None)
    return float(jnp.sqrt(jnp.mean((made - exact) ** 2)))
