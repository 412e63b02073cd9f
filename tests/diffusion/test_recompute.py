"""The gradient of many steps takes the memory of one, and is the gradient all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.prediction import Prediction
from clipdiff_jax.diffusion.sampler import Loop, sample
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim

SCHEDULE = DiscreteSchedule()
BATCH, WIDTH, HIDDEN = 64, 16, 512
PARAMS = {
    "up": jax.random.normal(jax.random.key(0), (WIDTH, HIDDEN)) / 4,
    "down": jax.random.normal(jax.random.key(1), (HIDDEN, WIDTH)) / 16,
}
X = jax.random.normal(jax.random.key(2), (BATCH, WIDTH))


def loss(params, x, steps, remat, unroll):
    def denoise(x, t, cond):
        del cond
        hidden = jnp.tanh(x @ params["up"])  # what has to be kept, or computed again
        for _ in range(3):
            hidden = jnp.sin(hidden + 0.01 * t)
        x0 = hidden @ params["down"]
        eps = (x - SCHEDULE.alpha(t) * x0) / SCHEDULE.sigma(t)
        return Prediction(x0, eps, None)

    times = ddim_grid(500, steps)
    out = sample(denoise, ddim(SCHEDULE), times, x, None, None, Loop(remat, unroll))
    return jnp.mean(out**2)


def gradient(steps, remat, unroll):
    function = jax.grad(lambda params, x: loss(params, x, steps, remat, unroll), argnums=(0, 1))
    return jax.jit(function).lower(PARAMS, X).compile()


def temporaries(*arguments) -> int:
    return gradient(*arguments).memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("unroll", [False, True])
def test_memory_grows_by_the_latents_only(unroll):
    few, many = (temporaries(steps, True, unroll) for steps in (4, 12))
    latent, activations = X.nbytes, BATCH * HIDDEN * 4
    print(f"{few} bytes, {many} with 8 steps more; a latent has {latent}")
    assert many - few <= 8 * 1.5 * latent
    kept = temporaries(12, False, unroll) - temporaries(4, False, unroll)
    assert kept > 8 * activations


@pytest.mark.parametrize("unroll", [False, True])
def test_the_gradient_is_the_same(unroll):
    expected = gradient(5, False, False)(PARAMS, X)
    found = gradient(5, True, unroll)(PARAMS, X)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)
    jax.tree.map(close, found, expected)
