"""What guidance by CLIP minimises: exact values, and gradients that are numbers everywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.perceptual.clip_loss import (
    range_penalty,
    saturation,
    spherical_distance,
    total_variation,
)


def test_the_distance_is_half_the_squared_angle():
    for angle in (0.01, 0.7, np.pi / 2, 3.0):
        u, v = jnp.array([1.0, 0, 0]), jnp.array([np.cos(angle), np.sin(angle), 0])
        assert float(spherical_distance(u, v)) == pytest.approx(angle**2 / 2, rel=1e-5)
        published = 2 * np.arcsin(np.linalg.norm(u - v) / 2) ** 2
        assert float(spherical_distance(u, v)) == pytest.approx(published, rel=1e-4)


def test_its_ends_have_finite_gradients():
    u = jnp.array([0.6, 0.8, 0.0])
    assert float(spherical_distance(u, u)) == 0
    np.testing.assert_array_equal(jax.grad(spherical_distance)(u, u), 0)
    assert float(spherical_distance(u, -u)) == pytest.approx(np.pi**2 / 2)
    assert jnp.isfinite(jax.grad(spherical_distance)(u, -u)).all()


def test_smoothness_and_range_of_pictures_known_by_hand():
    step = jnp.zeros((1, 4, 4, 3)).at[:, 2:].set(2.0)  # one row of edges, 4 x 3 of 48 values
    assert float(total_variation(step)[0]) == pytest.approx(12 * 4 / 48)
    turned = step.transpose(0, 2, 1, 3)
    assert float(total_variation(turned)[0]) == pytest.approx(1.0)
    assert float(range_penalty(step)[0]) == pytest.approx(0.5)  # half of it is 1 too bright
    assert float(saturation(step * 2)[0]) == pytest.approx(1.5)
    assert float(range_penalty(step / 2)[0]) == float(saturation(step / 2)[0]) == 0
