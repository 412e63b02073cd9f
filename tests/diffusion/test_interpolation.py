"""Spherical interpolation: ends, angles, lengths, and where there is no great circle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.interpolation import slerp


def test_ends_are_the_arguments():
    a, b = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_allclose(slerp(a, b, 0.0), a, atol=1e-5)
    np.testing.assert_allclose(slerp(a, b, 1.0), b, atol=1e-5)


@pytest.mark.parametrize("theta", [0.2, 0.5, 0.9])
def test_the_angle_and_the_length_go_evenly(theta):
    """Of whole vectors, not of their elements."""
    a, b = jnp.array([[3.0, 0.0, 0.0]]), jnp.array([[0.0, 5.0, 0.0]])
    c = slerp(a, b, theta)[0]
    angle = theta * np.pi / 2
    expected = (3 + 2 * theta) * np.array([np.cos(angle), np.sin(angle), 0.0])
    np.testing.assert_allclose(c, expected, atol=1e-5)


def test_half_way_between_gaussian_latents_keeps_their_length():
    a, b = jax.random.normal(jax.random.key(0), (2, 1, 64, 64, 3))
    length = float(jnp.linalg.norm(a))
    assert float(jnp.linalg.norm(slerp(a, b, 0.5))) == pytest.approx(length, rel=0.01)
    assert float(jnp.linalg.norm((a + b) / 2)) < 0.75 * length


def test_each_example_has_its_own_theta():
    a, b = jax.random.normal(jax.random.key(1), (2, 3, 8))
    thetas = jnp.array([0.0, 0.3, 1.0])
    together = slerp(a, b, thetas)
    for i in range(3):
        alone = slerp(a[i : i + 1], b[i : i + 1], thetas[i])
        np.testing.assert_allclose(together[i : i + 1], alone, atol=1e-6)


def test_without_a_great_circle_it_is_straight_and_finite():
    a = jnp.array([[1.0, 2.0]])
    for b in (a, 2 * a, jnp.zeros_like(a)):
        np.testing.assert_allclose(slerp(a, b, 0.5), (a + b) / 2, atol=1e-5)
    grad = jax.grad(lambda a: slerp(a, a, 0.5).sum())(a)
    assert np.isfinite(grad).all()


def test_between_opposite_vectors_the_length_stays():
    a = jax.random.normal(jax.random.key(2), (3, 16))
    a = a / jnp.linalg.norm(a, axis=1, keepdims=True)
    thetas = jnp.linspace(0, 1, 9)
    walk = jnp.stack([slerp(a, -a, theta) for theta in thetas])
    np.testing.assert_allclose(jnp.linalg.norm(walk, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(walk[0], a, atol=1e-5)
    np.testing.assert_allclose(walk[-1], -a, atol=1e-5)
    steps = jnp.linalg.norm(jnp.diff(walk, axis=0), axis=-1)
    np.testing.assert_allclose(steps, 2 * np.sin(np.pi / 16), atol=1e-4)  # evenly round
