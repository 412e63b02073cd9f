"""Heun's step: second order where DDIM's is first, at two evaluations a step."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, flow_error, ideal_network

from clipdiff_jax.diffusion.grids import even_grid
from clipdiff_jax.diffusion.prediction import make_denoise
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.diffusion.steps import SAMPLERS, make_step

DENOISE = make_denoise(ideal_network("eps"), SCHEDULE)
X = jax.random.normal(jax.random.key(0), (64, 4))
T_LAST = 100  # where the walks that are compared end, away from the last step to the clean image


def exact(t: int, s: int):
    """The flow of the differential equation for Gaussian data: each time's standard deviation is
    that of alpha x0 + sigma eps, and the place within it stays."""
    at = lambda u: (float(SCHEDULE.alpha(u)), float(SCHEDULE.sigma(u)))
    (a, sa), (b, sb) = at(jnp.int32(t)), at(jnp.int32(s))
    place = (np.asarray(X, np.float64) - a * MEAN) / np.hypot(a * STD, sa)
    return b * MEAN + np.hypot(b * STD, sb) * place


def error(sampler: str, steps: int) -> float:
    times = np.round(np.linspace(700, T_LAST, steps + 1)).astype(np.int32)
    found = sample(DENOISE, make_step(sampler, SCHEDULE), times, X, None, None)
    return float(np.abs(found - exact(700, T_LAST)).mean())


def test_halving_the_steps_quarters_the_error_where_ddims_is_halved():
    heun = [error("heun", steps) for steps in (10, 20, 40)]
    ddim = [error("ddim", steps) for steps in (10, 20, 40)]
    for coarse, fine in itertools.pairwise(heun):
        assert coarse / fine == pytest.approx(4, rel=0.3)
    for coarse, fine in itertools.pairwise(ddim):
        assert coarse / fine == pytest.approx(2, rel=0.3)
    assert heun[0] < ddim[1]  # as many evaluations


def test_it_goes_to_where_a_fine_ddim_grid_goes():
    walk = lambda sampler, steps: sample(
        DENOISE, make_step(sampler, SCHEDULE), even_grid(1000, steps), X, None, None
    )
    fine = walk("ddim", 1000)
    apart = lambda found: float(jnp.abs(found - fine).mean())
    assert apart(walk("heun", 50)) < 0.5 * apart(walk("ddim", 100))
    assert apart(walk("heun", 100)) < 1e-3


def test_the_last_step_to_the_clean_image_is_ddims():
    times = np.array([50, -1], np.int32)
    found = [sample(DENOISE, make_step(name, SCHEDULE), times, X, None, None) for name in
             ("heun", "ddim")]  # fmt: skip
    np.testing.assert_array_equal(*found)


def test_a_step_evaluates_twice():
    calls = []

    def counted(x, t, cond):
        jax.debug.callback(lambda t: calls.append(int(np.ravel(t)[0])), t)
        return DENOISE(x, t, cond)

    sample(counted, SAMPLERS["heun"](SCHEDULE, None), np.array([90, 40, -1]), X, None, None)
    jax.effects_barrier()
    assert sorted(calls) == [0, 40, 40, 90]


@pytest.mark.parametrize("betas", ["linear", "squared_cosine"])
def test_it_is_never_behind_ddim_on_the_grids_that_calls_walk(betas):
    """On a cosine schedule the mean of two slopes alone is off by several deviations there."""
    schedule = DiscreteSchedule(betas)
    error = lambda name, steps: flow_error(schedule, make_step(name, schedule), steps)
    for steps in (2, 5, 10, 25, 50):
        assert error("heun", steps) <= error("ddim", steps) * (1 + 1e-5), steps
    assert error("heun", 25) < error("ddim", 25) / 4
