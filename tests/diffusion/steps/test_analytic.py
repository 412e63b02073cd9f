import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, ideal_network, table

from clipdiff_jax.diffusion.grids import even_grid
from clipdiff_jax.diffusion.prediction import Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import sample, sample_traced
from clipdiff_jax.diffusion.steps.analytic import analytic, estimate_gamma

GRID = even_grid(1000, 5)
TARGETS = ["eps", "x0", "v"]


def total(t):
    alpha, sigma = table()
    return alpha(t) ** 2 * STD**2 + sigma(t) ** 2


def exact_gamma(times):
    """The ideal eps is sigma (x_t - alpha mean) / total, so its mean square is sigma^2 / total."""
    return np.array([table()[1](t) ** 2 / total(t) for t in times], np.float32)


@pytest.mark.parametrize("target", TARGETS)
def test_the_estimate_is_the_closed_form(target):
    data = MEAN + STD * jax.random.normal(jax.random.key(0), (4, 10_000, 2))
    denoise = make_denoise(ideal_network(target), SCHEDULE, target)
    estimate = jax.jit(lambda *args: estimate_gamma(denoise, SCHEDULE, *args))
    gamma = estimate(GRID[:-1], data, jax.random.key(1))
    assert gamma.dtype == jnp.float32
    np.testing.assert_allclose(gamma, exact_gamma(GRID[:-1]), rtol=4 * np.sqrt(2 / 80_000))


def test_conditioning_goes_with_its_batch():
    """A network that knows x0 by its conditioning predicts the noise itself: Gamma is 1."""
    data = jax.random.normal(jax.random.key(0), (3, 5000, 2))
    denoise = make_denoise(lambda x, t, cond: cond["x0"], SCHEDULE, "x0")
    gamma = estimate_gamma(
        denoise, SCHEDULE, np.array([900, 30]), data, jax.random.key(1), {"x0": data}
    )
    np.testing.assert_allclose(gamma, 1, rtol=4 * np.sqrt(2 / 30_000))


@pytest.mark.parametrize("target", TARGETS)
def test_five_steps_have_the_exact_moments_of_gaussian_data_on_the_whole_way(target):
    """With eq. 17 each step draws from q(x_s | x_t) itself, however long it is."""
    alpha, _ = table()
    count = 40_000
    start, walk = jax.random.split(jax.random.key(0))
    x = alpha(GRID[0]) * MEAN + np.sqrt(total(GRID[0])) * jax.random.normal(start, (count, 1))
    denoise = make_denoise(ideal_network(target), SCHEDULE, target)
    step = analytic(SCHEDULE, GRID[:-1], exact_gamma(GRID[:-1]))
    end, trace = sample_traced(denoise, step, GRID, x, None, walk)
    for t, visited in zip(GRID[1:-1], trace.x, strict=False):
        assert float(visited.mean()) == pytest.approx(alpha(t) * MEAN, abs=4 / np.sqrt(count))
        assert float(visited.var()) == pytest.approx(total(t), rel=4 * np.sqrt(2 / count))
    # The last step is the mean of x0, which lacks what is uncertain about it.
    expected = alpha(GRID[-2]) ** 2 * STD**4 / total(GRID[-2])
    assert float(end.mean()) == pytest.approx(MEAN, abs=4 * STD / np.sqrt(count))
    assert float(end.var()) == pytest.approx(expected, rel=4 * np.sqrt(2 / count))


def test_the_variance_is_that_of_the_gaussians_own_posterior():
    alpha, sigma = table()
    times = np.array([900, 500, 20])
    step = analytic(SCHEDULE, times, exact_gamma(times))
    x = jnp.zeros((3, 1))
    t, s = jnp.asarray(times), jnp.array([500, 499, 0])
    std = step(x, Prediction(x, x), t, s, jnp.ones((3, 1)))[:, 0]
    for i, (t, s) in enumerate(((900, 500), (500, 499), (20, 0))):
        beta = 1 - alpha(t) ** 2 / alpha(s) ** 2
        # 1 / var = 1 / var(x_s) + (alpha_t / alpha_s)^2 / beta
        precision = 1 / total(s) + (1 - beta) / beta
        assert float(std[i]) == pytest.approx(1 / np.sqrt(precision), rel=1e-3)
    assert total(0) == pytest.approx(alpha(0) ** 2 * STD**2 + sigma(0) ** 2)


def test_the_uncertainty_about_x0_is_bounded_by_zero_and_one():
    x = jnp.zeros((1, 1))
    t, s = jnp.array(500), jnp.array(300)
    alpha, sigma = table()
    beta = 1 - alpha(500) ** 2 / alpha(300) ** 2
    tilde = beta * sigma(300) ** 2 / sigma(500) ** 2
    widest = tilde + (alpha(300) * beta / sigma(500) ** 2) ** 2
    for gamma, variance in ((2.0, tilde), (-50.0, widest)):
        step = analytic(SCHEDULE, np.array([500]), np.array([gamma], np.float32))
        moved = step(x, Prediction(x, x), t, s, jnp.ones((1, 1)))
        assert float(moved[0, 0]) ** 2 == pytest.approx(variance, rel=1e-3)


def test_between_its_times_the_table_is_interpolated():
    x = jnp.zeros((1, 1))
    coarse = analytic(SCHEDULE, np.array([600, 400]), np.array([0.9, 0.5], np.float32))
    fine = analytic(SCHEDULE, np.array([450]), np.array([0.6], np.float32))
    now = Prediction(x, x), jnp.array(450), jnp.array(300), jnp.ones((1, 1))
    np.testing.assert_allclose(coarse(x, *now), fine(x, *now), rtol=1e-5)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="each of 3 times, got 2"):
        analytic(SCHEDULE, np.array([5, 3, 1]), np.ones(2, np.float32))
    with pytest.raises(ValueError, match="got -1: leave out"):
        estimate_gamma(lambda *_: None, SCHEDULE, GRID, jnp.ones((1, 1, 1)), jax.random.key(0))
    step = analytic(SCHEDULE, GRID[:-1], exact_gamma(GRID[:-1]))
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    with pytest.raises(ValueError, match="key"):
        sample(denoise, step, GRID, jnp.ones((1, 1)), None, None)
