"""Grain against windows that can be counted by hand and against the chi-squared distribution."""

import numpy as np
import pytest

from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.grain import local_deviation


def two_colours(height=16, width=16):
    """A picture of two flat halves, none of whose values is a short binary fraction."""
    picture = np.full((1, height, width, 3), 0.1, np.float32)
    picture[:, :, width // 2 :] = -0.7
    return picture


def test_flat_areas_have_none_and_edges_do_not_count():
    assert local_deviation(two_colours()) == 0.0


def test_deviation_of_stripes():
    """Every window of stripes one pixel wide has a third or two thirds of its pixels at 1."""
    stripes = np.full((2, 8, 9, 3), -1, np.float32)
    stripes[:, :, ::2] = 1.0
    np.testing.assert_allclose(local_deviation(stripes), 2 * np.sqrt(2) / 3, rtol=1e-6)


def test_noise_on_flat_areas_shows_at_its_size():
    """The median of chi-squared with 8 degrees of freedom is 7.3441."""
    noise = np.random.default_rng(0).normal(size=(8, 64, 64, 3))
    measured = local_deviation((two_colours(64, 64) + 0.05 * noise).astype(np.float32))
    np.testing.assert_allclose(measured, 0.05 * np.sqrt(7.3441 / 9), rtol=0.05)


def test_what_it_refuses():
    with pytest.raises(ValueError, match=r"windows of 3x3 pixels, got .*\(2, 16, 3\)"):
        local_deviation(np.zeros((1, 2, 16, 3), np.float32))
    with pytest.raises(ValueError, match="there are none"):
        local_deviation(np.zeros((0, 16, 16, 3), np.float32))
    with pytest.raises(ValueError, match=r"most likely in \[0, 1\]"):
        local_deviation(np.linspace(0, 1, 768).reshape(1, 16, 16, 3).astype(np.float32))


def test_bytes_are_the_same_pictures():
    levels = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3)).astype(np.uint8)
    assert local_deviation(levels) == local_deviation(to_float(levels))
