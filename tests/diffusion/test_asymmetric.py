import jax
import jax.numpy as jnp
import numpy as np
from helpers.gaussian import SCHEDULE, ideal_network, table

from clipdiff_jax.diffusion.asymmetric import asymmetric, boosted
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.prediction import make_denoise
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim

IDEAL = make_denoise(ideal_network("eps"), SCHEDULE)
GRID = ddim_grid(400, 5)
LATENT = jax.random.normal(jax.random.key(0), (3, 4))


def shifted(x_t, t, cond):
    """The ideal denoiser with 0.1 more in its guess, and an eps that agrees with it."""
    out = IDEAL(x_t, t, cond)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)
    return out._replace(x0=out.x0 + 0.1, eps=out.eps - 0.1 * alpha / sigma)


def test_without_a_shift_it_is_the_ordinary_process():
    plain = sample(IDEAL, ddim(SCHEDULE), GRID, LATENT, None, None)
    same = sample(asymmetric(IDEAL, IDEAL), ddim(SCHEDULE), GRID, LATENT, None, None)
    np.testing.assert_array_equal(same, plain)
    boost = sample(IDEAL, boosted(SCHEDULE, 0), GRID, LATENT, None, jax.random.key(1))
    np.testing.assert_allclose(boost, plain, atol=1e-6)


def test_the_guess_is_edited_and_the_direction_back_is_not():
    alpha, sigma = table()
    edited = asymmetric(IDEAL, shifted, t_edit=200)
    for t, added in ((300, 0.1), (200, 0.1), (199, 0.0)):
        plain, out = (model(LATENT, jnp.int32(t), None) for model in (IDEAL, edited))
        np.testing.assert_allclose(out.x0, plain.x0 + added, atol=1e-6)
        np.testing.assert_array_equal(out.eps, plain.eps)
    step = sample(edited, ddim(SCHEDULE), np.array([300, 100]), LATENT, None, None)
    plain = IDEAL(LATENT, jnp.int32(300), None)
    expected = alpha(100) * (plain.x0 + 0.1) + sigma(100) * plain.eps
    np.testing.assert_allclose(step, expected, atol=1e-6)


def test_noise_is_put_in_below_the_time_of_boosting_only():
    noise = jax.random.normal(jax.random.key(2), (5, *LATENT.shape))
    walk = lambda rule, grid, z: sample(IDEAL, rule, grid, LATENT, None, z)
    found = walk(boosted(SCHEDULE, 201), GRID, noise)
    middle = walk(ddim(SCHEDULE), GRID[:3], None)  # 400, 300, 200
    expected = sample(IDEAL, ddim(SCHEDULE, 1.0), GRID[2:], middle, None, noise[2:])
    np.testing.assert_allclose(found, expected, atol=1e-5)
