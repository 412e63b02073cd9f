"""Encoders of pieces: a turned piece has the same features, moved on by one place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models.pieces import GroupConv, SquareEncoder, SquaresConfig

SMALL = {"hidden": 8, "features": 12, "channels": (8, 8, 8, 8)}


def parts(config, pieces, key=0):
    encoder = SquareEncoder(config)
    params = jax.jit(encoder.init)(jax.random.key(key), pieces)
    features = jax.jit(encoder.apply)(params, pieces)
    return np.asarray(features).reshape(len(pieces), 4, -1)


@pytest.mark.parametrize("kind", ["turned", pytest.param("group", marks=pytest.mark.slow)])
def test_turning_a_piece_moves_its_features_on(kind):
    config = SquaresConfig(piece=8, kind=kind, **SMALL)
    piece = jax.random.normal(jax.random.key(1), (8, 8, 3))
    found = parts(config, jnp.stack([jnp.rot90(piece, k) for k in range(4)]))
    for k in range(4):
        np.testing.assert_allclose(found[k], np.roll(found[0], k, axis=0), rtol=1e-4, atol=2e-5)
    assert np.abs(found[0] - found[1]).max() > 0.05  # they do tell the turn


def test_the_plain_encoder_is_not_equivariant():
    piece = jax.random.normal(jax.random.key(1), (8, 8, 3))
    found = parts(
        SquaresConfig(piece=8, kind="plain", **SMALL), jnp.stack([piece, jnp.rot90(piece)])
    )
    assert np.abs(found[1] - np.roll(found[0], 1, axis=0)).max() > 0.05


def test_a_group_convolution_turns_its_maps_and_shifts_their_orientations():
    x = jax.random.normal(jax.random.key(0), (1, 6, 6, 4, 2))
    conv = GroupConv(3, stride=2)
    params = jax.jit(conv.init)(jax.random.key(1), x)
    apply = jax.jit(conv.apply)
    turned = jnp.roll(jnp.rot90(x, axes=(1, 2)), 1, axis=3)
    expected = jnp.roll(jnp.rot90(apply(params, x), axes=(1, 2)), 1, axis=3)
    np.testing.assert_allclose(apply(params, turned), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"features": 10}, "multiple of 4"),
        ({"piece": 1}, "piece=1, expected"),
        ({"piece": 12, "kind": "group"}, "multiples of 8"),
        ({"kind": "group", "channels": (8, 8)}, "four multiples of 8"),
    ],
)
def test_bad_configs_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        SquaresConfig(**options)
