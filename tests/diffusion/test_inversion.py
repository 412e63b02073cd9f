import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, ideal_network, table

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.inversion import (
    inversion_grid,
    invert,
    invert_traced,
    upwards_from_clean,
)
from clipdiff_jax.diffusion.prediction import make_denoise
from clipdiff_jax.diffusion.sampler import sample, scanned
from clipdiff_jax.diffusion.steps.ddim import ddim

DENOISE = make_denoise(ideal_network("eps"), SCHEDULE)
X0 = MEAN + STD * jax.random.normal(jax.random.key(0), (64, 3))


@pytest.mark.parametrize(("t0", "steps"), [(400, 6), (401, 40), (601, 40)])
def test_inversion_grid_is_the_published_one(t0, steps):
    seq = [int(s) for s in np.linspace(0, 1, steps) * t0]
    following = [-1, *seq[:-1]]
    grid = inversion_grid(t0, steps)
    assert list(itertools.pairwise(grid)) == list(zip(following[1:], seq[1:], strict=True))
    assert len(grid) - 1 == steps - 1


def there_and_back(grid, steps, t0, fixed_point=0):
    latent = invert(DENOISE, SCHEDULE, grid, X0, fixed_point=fixed_point)
    back = sample(DENOISE, ddim(SCHEDULE), ddim_grid(t0, steps), latent, None, None)
    return float(jnp.abs(back - X0).max())


def test_invert_then_sample_comes_back_and_finer_grids_come_closer():
    errors = [there_and_back(inversion_grid(500, n), n, 500) for n in (10, 40, 250)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_fixed_point_iterations_undo_generation_exactly():
    grid = ddim_grid(500, 10)[::-1]
    plain, three, many = (there_and_back(grid, 10, 500, n) for n in (0, 3, 25))
    assert three < plain / 10
    assert many < 1e-5


def test_a_hundred_steps_to_pure_noise_and_back_return_the_picture():
    grid = ddim_grid(999, 100)
    assert there_and_back(grid[::-1], 100, 999, fixed_point=2) < 1e-3
    assert there_and_back(grid[::-1], 100, 999) < 0.1


def test_inversion_is_the_closed_form_map_upwards():
    alpha, sigma = table()
    times = inversion_grid(500, 10)
    latent, visited = invert_traced(DENOISE, SCHEDULE, times, X0)
    slope = 1.0
    for s, t in itertools.pairwise(times):
        total = alpha(s) ** 2 * STD**2 + sigma(s) ** 2
        slope *= (alpha(t) * alpha(s) * STD**2 + sigma(t) * sigma(s)) / total
    expected = alpha(500) * MEAN + slope * (np.asarray(X0) - alpha(0) * MEAN)
    np.testing.assert_allclose(latent, expected, atol=2e-5)
    np.testing.assert_array_equal(visited[-1], latent)
    assert visited.shape == (9, 64, 3)


def test_the_step_from_the_clean_image_brings_back_what_the_denoiser_lets_through():
    """Of this data the denoiser is x0 = a + b x, of which eq. 11 is a geometric series; many rounds
    undo the last step of generation, and no round says that there was no noise."""
    denoise = make_denoise(ideal_network("v"), SCHEDULE, "v")
    alpha, sigma = (float(f(200)) for f in table())
    b = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2)
    a = MEAN * (1 - b * alpha)
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 1))
    x0 = a + b * x
    for rounds in (1, 3, 40):
        found = scanned(
            upwards_from_clean(denoise, SCHEDULE, np.array([-1, 200]), x0, rounds=rounds)
        )
        left = (1 - alpha * b) ** rounds
        np.testing.assert_allclose(found, x + left * (alpha * x0 - x), atol=2e-4)
    further = scanned(
        upwards_from_clean(denoise, SCHEDULE, np.array([-1, 200, 999]), x0, rounds=40)
    )
    one_step = invert(denoise, SCHEDULE, np.array([200, 999]), x)
    np.testing.assert_allclose(further, one_step, atol=2e-3)
