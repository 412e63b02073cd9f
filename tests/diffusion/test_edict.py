import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, ideal_network, table

from clipdiff_jax.diffusion.edict import Pair, invert_coupled, sample_coupled
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.inversion import invert
from clipdiff_jax.diffusion.prediction import from_eps, make_denoise
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim

IDEAL = make_denoise(ideal_network("eps"), SCHEDULE)


def crooked(x, t, cond):
    """A denoiser that is nowhere near one: nonlinear, jumping from time to time."""
    weights = jax.random.normal(jax.random.key(1), (6, 6))
    eps = jnp.tanh(x @ weights + jnp.sin(1.0 * t)) + 0.3 * jnp.sign(x)
    return from_eps(SCHEDULE, x, jnp.asarray(t), eps)


def pictures():
    return jnp.clip(MEAN + STD * jax.random.normal(jax.random.key(0), (5, 6)), -1, 1)


@pytest.mark.parametrize("denoise", [IDEAL, crooked])
@pytest.mark.parametrize(("t0", "steps"), [(500, 40), (600, 7)])
def test_generation_returns_what_was_inverted_whatever_the_denoiser(denoise, t0, steps):
    x0, down = pictures(), ddim_grid(t0, steps)
    pair = invert_coupled(denoise, SCHEDULE, down[::-1], x0)
    again = sample_coupled(denoise, SCHEDULE, down, pair)
    np.testing.assert_allclose(again.x, x0, atol=2e-5)
    np.testing.assert_allclose(again.y, x0, atol=2e-5)
    uncoupled = sample(
        denoise, ddim(SCHEDULE), down, invert(denoise, SCHEDULE, down[::-1], x0), None, None
    )
    assert float(jnp.abs(uncoupled - x0).max()) > 100 * float(jnp.abs(again.x - x0).max())


def test_one_step_by_hand():
    alpha, sigma = table()
    x, y, p = np.float64(0.7), np.float64(0.4), 0.9
    a = alpha(200) / alpha(400)
    b = sigma(200) - a * sigma(400)
    eps = lambda v: float(IDEAL(jnp.full((1, 1), v, jnp.float32), jnp.int32(400), None).eps[0, 0])
    x_moved = a * x + b * eps(y)
    y_moved = a * y + b * eps(x_moved)
    x_s = p * x_moved + (1 - p) * y_moved
    y_s = p * y_moved + (1 - p) * x_s
    start = Pair(jnp.full((1, 1), x), jnp.full((1, 1), y))
    found = sample_coupled(IDEAL, SCHEDULE, np.array([400, 200]), start, mixing=p)
    assert float(found.y[0, 0]) == pytest.approx(x_s, rel=1e-5)
    assert float(found.x[0, 0]) == pytest.approx(y_s, rel=1e-5)
    back = invert_coupled(IDEAL, SCHEDULE, np.array([-1, 200]), jnp.full((1, 1), 0.5))
    forth = sample_coupled(IDEAL, SCHEDULE, np.array([200, -1]), back)
    assert float(forth.x[0, 0]) == pytest.approx(0.5, abs=1e-6)


def test_on_a_fine_grid_both_samples_follow_ddim():
    x = 0.2 + 1.1 * jax.random.normal(jax.random.key(2), (4, 3))
    grid = ddim_grid(500, 200)
    plain = sample(IDEAL, ddim(SCHEDULE), grid, x, None, None)
    coupled = sample_coupled(IDEAL, SCHEDULE, grid, Pair(x, x))
    np.testing.assert_allclose(coupled.x, plain, atol=5e-3)
    np.testing.assert_allclose(coupled.y, plain, atol=5e-3)
