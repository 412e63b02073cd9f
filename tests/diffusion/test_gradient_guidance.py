"""Guidance by a gradient: its formula, its bound, and that nothing is nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import SCHEDULE, ideal_network

from clipdiff_jax.diffusion.gradient_guidance import Steered, gradient_guided
from clipdiff_jax.diffusion.prediction import make_denoise

DENOISE = make_denoise(ideal_network("eps"), SCHEDULE)
X = jax.random.normal(jax.random.key(0), (3, 4, 4, 2))
COND = Steered(None, jax.random.split(jax.random.key(1), 3))
SUM = (1, 2, 3)


def guided(loss, **options):
    return gradient_guided(DENOISE, loss, SCHEDULE, **options)


@pytest.mark.parametrize("see", ["blend", "x0"])
@pytest.mark.parametrize("t", [20, 400, 800])
def test_it_is_the_gradient_through_the_network_and_keeps_the_identity(see, t):
    target = jax.random.normal(jax.random.key(2), X.shape)

    def loss(shown, x0, keys):
        return jnp.sum((shown - target) ** 2, SUM) + 0.1 * jnp.sum(x0**3, SUM)

    t = jnp.int32(t)
    out, plain = guided(loss, see=see)(X, t, COND), DENOISE(X, t, None)
    alpha, sigma = SCHEDULE.alpha(t), SCHEDULE.sigma(t)

    def value(x):
        x0 = DENOISE(x, t, None).x0
        shown = x0 if see == "x0" else sigma * x0 + (1 - sigma) * x
        return loss(shown, x0, None).sum()

    direction = (out.eps - plain.eps) / jnp.linalg.norm(out.eps - plain.eps)
    h = 0.05
    numeric = (value(X + h * direction) - value(X - h * direction)) / (2 * h)
    along = jnp.sum((out.eps - plain.eps) / sigma * direction)
    assert float(along) == pytest.approx(float(numeric), rel=5e-3)
    np.testing.assert_allclose(alpha * out.x0 + sigma * out.eps, X, atol=1e-4)


def test_the_bound_is_for_each_picture():
    scales = jnp.array([1e-4, 1.0, 1e4])
    loss = lambda shown, x0, keys: scales * jnp.sum(shown, SUM)
    t = jnp.int32(500)
    free, bound = guided(loss)(X, t, COND), guided(loss, clamp=0.05)(X, t, COND)
    plain = DENOISE(X, t, None).eps
    rms = lambda out: jnp.sqrt(jnp.mean((out.eps - plain) ** 2, SUM))
    assert (rms(bound) <= 0.05 + 1e-5).all()
    np.testing.assert_allclose(rms(bound)[0], rms(free)[0], rtol=1e-2)
    assert float(rms(free)[2]) > 100
    np.testing.assert_allclose(rms(bound)[2], 0.05, rtol=1e-3)


def test_no_loss_changes_nothing():
    zero = lambda shown, x0, keys: 0 * jnp.sum(shown, SUM)
    t = jnp.int32(300)
    for clamp in (jnp.inf, 0.05):
        out, plain = guided(zero, clamp=clamp)(X, t, COND), DENOISE(X, t, None)
        np.testing.assert_array_equal(out.eps, plain.eps)
        np.testing.assert_array_equal(out.x0, plain.x0)


def test_keys_are_others_at_each_time_and_of_each_picture():
    loss = lambda shown, x0, keys: jax.vmap(jax.random.normal)(keys) * jnp.sum(shown, SUM)
    push = lambda t, some: guided(loss)(X[some], jnp.int32(t), Steered(None, COND.keys[some])).eps
    every = slice(None)
    np.testing.assert_allclose(push(300, slice(1, 2))[0], push(300, every)[1], atol=1e-5)
    factor = lambda t: (push(t, every) - DENOISE(X, jnp.int32(t), None).eps).mean(SUM)
    assert len({round(float(v), 4) for t in (300, 301) for v in factor(t)}) == 6
