"""Tiles: exact where what is computed is local, one shape only, no seams."""

import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.latent.tiles import tiled
from clipdiff_jax.models.layers import average_pool, nearest_upsample


@pytest.mark.parametrize("shape", [(8, 8), (11, 30), (20, 12), (4, 16)])
@pytest.mark.parametrize(("change", "ratio"), [(nearest_upsample, 2), (lambda x: x * 3, 1)])
def test_what_is_local_is_exact(shape, change, ratio):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *shape, 3)), jnp.float32)
    seen = set()

    def apply(piece):
        seen.add(piece.shape)
        return change(piece)

    out = tiled(apply, x, 8, 2)
    np.testing.assert_allclose(out, change(x), rtol=1e-5, atol=1e-6)
    assert seen == {(2, min(shape[0], 8), min(shape[1], 8), 3)}
    assert out.shape[1] == ratio * shape[0]


def test_maps_that_shrink_are_joined_too():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 16, 42, 3)), jnp.float32)
    out = tiled(average_pool, x, 16, 4)
    np.testing.assert_allclose(out, average_pool(x), rtol=1e-5, atol=1e-6)


def test_pieces_that_differ_fade_into_each_other():
    count = iter(range(10))
    out = tiled(
        lambda piece: jnp.full(piece.shape, float(next(count))), jnp.zeros((1, 4, 12, 1)), 8, 4
    )
    steps = np.diff(np.asarray(out)[0, 0, :, 0])
    assert (steps >= 0).all()
    assert steps.max() < 0.25
    assert float(out[0, 0, 0, 0]) == 0.0
    assert float(out[0, 0, -1, 0]) == 1.0
