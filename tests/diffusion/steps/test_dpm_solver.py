import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, ideal_network, table

from clipdiff_jax.diffusion.grids import ddim_grid, even_grid, step_grid
from clipdiff_jax.diffusion.prediction import from_x0, make_denoise
from clipdiff_jax.diffusion.sampler import sample, sample_traced
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.diffusion.steps.dpm_solver import dpm_solver

STEP = dpm_solver(SCHEDULE)
X = jnp.linspace(-2, 2, 9)[:, None]


def total(t):
    alpha, sigma = table()
    return alpha(t) ** 2 * STD**2 + sigma(t) ** 2


def error(step, times, target="eps"):
    """Distance from where the differential equation leads: for Gaussian data, a rescaling."""
    alpha, _ = table()
    first, last = int(times[0]), int(times[-1])
    exact = alpha(last) * MEAN + np.sqrt(total(last) / total(first)) * (X - alpha(first) * MEAN)
    denoise = make_denoise(ideal_network(target), SCHEDULE, target)
    return float(jnp.abs(sample(denoise, step, times, X, None, None) - exact).max())


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_it_is_of_second_order(target):
    """Twice the steps, a quarter of the error (half of it with DDIM)."""
    grids = [np.arange(800, 199, -stride) for stride in (60, 30, 15)]
    first, second, third = (error(STEP, grid, target) for grid in grids)
    assert first / second == pytest.approx(4, rel=0.2)
    assert second / third == pytest.approx(4, rel=0.2)
    euler = [error(ddim(SCHEDULE), grid, target) for grid in grids[1:]]
    assert euler[0] / euler[1] == pytest.approx(2, rel=0.1)
    assert third < euler[1] / 10


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_gaussian_data_has_the_moments_of_its_affine_map(target):
    alpha, _ = table()
    denoise = make_denoise(ideal_network(target), SCHEDULE, target)
    run = lambda x: sample(denoise, STEP, even_grid(1000, 40), x, None, None)
    centre = jnp.array([[alpha(999) * MEAN]])
    std = float((run(centre + 1) - run(centre))[0, 0]) * np.sqrt(total(999))
    x = run(centre + np.sqrt(total(999)) * jax.random.normal(jax.random.key(0), (40_000, 1)))
    assert float(x.mean()) == pytest.approx(MEAN, abs=4 * STD / 200)
    assert float(x.std()) == pytest.approx(std, rel=4 * np.sqrt(0.5) / 200)
    assert std == pytest.approx(STD, rel=0.015)  # with DDIM it is 9 % off


def test_the_first_step_and_the_one_to_the_clean_image_are_those_of_ddim():
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    for grid in ([700, 400], [20, -1]):
        ours, theirs = (
            sample(denoise, step, np.array(grid), X, None, None) for step in (STEP, ddim(SCHEDULE))
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    end, trace = sample_traced(denoise, STEP, ddim_grid(400, 5), X, None, None)
    np.testing.assert_allclose(end, trace.x0[-1], atol=1e-6)


def test_equations_by_hand():
    """Three steps with predictions that are given, in float64."""
    alpha, sigma = table()
    grid, guesses = [800, 500, 300, 150], [0.7, -0.2, 0.4]
    half_logsnr = lambda t: np.log(alpha(t) / sigma(t))
    x = 0.5
    for i, (t, s) in enumerate(itertools.pairwise(grid)):
        h = half_logsnr(s) - half_logsnr(t)
        d = guesses[i]
        if i:
            r = (half_logsnr(t) - half_logsnr(grid[i - 1])) / h
            d = (1 + 1 / (2 * r)) * guesses[i] - 1 / (2 * r) * guesses[i - 1]
        x = sigma(s) / sigma(t) * x - alpha(s) * (np.exp(-h) - 1) * d
    table_of_guesses = jnp.zeros(1000).at[jnp.array(grid[:-1])].set(jnp.array(guesses))
    network = lambda x, t, cond: table_of_guesses[t][:, None]
    denoise = make_denoise(network, SCHEDULE, "x0")
    out = sample(denoise, STEP, np.array(grid), jnp.full((1, 1), 0.5), None, None)
    assert float(out[0, 0]) == pytest.approx(x, abs=1e-5)


def test_gradients_flow_through_its_memory():
    def loss(scale, remat):
        denoise = make_denoise(lambda x, t, cond: scale * x, SCHEDULE, "x0")
        return jnp.mean(sample(denoise, STEP, ddim_grid(400, 6), X, remat=remat) ** 2)

    plain, again = (float(jax.grad(loss)(0.3, remat)) for remat in (False, True))
    numeric = float((loss(0.301, False) - loss(0.299, False)) / 0.002)
    assert plain == pytest.approx(numeric, rel=1e-2)
    assert again == pytest.approx(plain, rel=1e-5)


def test_a_step_may_have_one_time_per_picture():
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    x = jax.random.normal(jax.random.key(0), (3, 4, 4, 1))
    grids = np.array([[600, 500, 400], [300, 80, 0], [40, 3, -1]])

    def walk(x, times):
        memory = STEP.start(x)
        for t, s in itertools.pairwise(jnp.asarray(times)):
            memory, x = STEP.step(memory, x, denoise(x, t, None), t, s, None)
        return x

    together = walk(x, grids.T)
    for i in range(3):
        np.testing.assert_allclose(together[i], walk(x[i : i + 1], grids[i])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("betas", "steps", "most"), [("linear", 25, 0.012), ("squared_cosine", 25, 0.0004)]
)
def test_it_beats_ddim_on_the_grid_that_calls_walk(betas, steps, most):
    """Root mean square distance from the exact flow of N(0.3, 0.5^2), 10 to 100 steps."""
    schedule, mean, var = DiscreteSchedule(betas), 0.3, 0.25

    def denoise(x, t, cond):
        a, s = schedule.alpha(t), schedule.sigma(t)
        return from_x0(schedule, x, t, mean + a * var / (a * a * var + s * s) * (x - a * mean))

    a, s = (float(value(jnp.int32(999))) for value in (schedule.alpha, schedule.sigma))
    x = jax.random.normal(jax.random.key(0), (256, 1))
    exact = mean + np.sqrt(var) * (x - a * mean) / np.sqrt(a * a * var + s * s)

    def rms(step, count):
        made = sample(denoise, step, step_grid(1000, count), x, None, None)
        return float(jnp.sqrt(jnp.mean((made - exact) ** 2)))

    assert rms(dpm_solver(schedule), steps) < most
    for count in (1, 2, 5, 10, 15, 20, 30, 50, 100):
        assert rms(dpm_solver(schedule), count) <= rms(ddim(schedule), count) * (1 + 1e-5)
