"""The CLIP score against its formula in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.metrics.clip_score import HESSEL_WEIGHT, PERCENT, clip_score
from clipdiff_jax.models.clip import unit


def normal(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def unit64(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize(("count", "width"), [(50, 8), (1, 512), (3, 2)])
def test_clip_score_is_the_formula(count, width):
    images, texts = normal(count, width, 0), normal(count, width, 1)
    cosine = np.maximum((unit64(images) * unit64(texts)).sum(1), 0)
    found = clip_score(unit(jnp.asarray(images)), unit(jnp.asarray(texts)))
    np.testing.assert_allclose(found, 2.5 * cosine, rtol=1e-4, atol=1e-6)
    assert HESSEL_WEIGHT == 2.5
    other = clip_score(unit(jnp.asarray(images)), unit(jnp.asarray(texts)), PERCENT)
    np.testing.assert_allclose(other, 100 * cosine, rtol=1e-4, atol=1e-4)


def test_clip_score_at_its_ends():
    x = unit(jnp.asarray(normal(4, 8, 2)))
    np.testing.assert_allclose(clip_score(x, x), 2.5, rtol=1e-6)
    assert list(clip_score(x, -x)) == [0] * 4
