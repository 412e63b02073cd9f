"""A loaded IR-SE network gives the numbers of the original."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES

from clipdiff_jax.models.arcface import ArcFace, ArcFaceConfig
from clipdiff_jax.weights.layouts.arcface import TABLE
from clipdiff_jax.weights.tables import expected, export_params, import_params

TINY = ArcFaceConfig(image_size=16, width=4, depths=(2, 1), reduction=2, features=8)


def init(config, key):
    size = config.image_size
    return ArcFace(config).init(key, jnp.zeros((1, size, size, 3)))["params"]


def shapes_of(config):
    return jax.eval_shape(partial(init, config), jax.random.key(0))


def assert_parity(config, state, images, embeddings):
    params = import_params(TABLE, state, shapes_of(config))
    ours = jax.jit(ArcFace(config).apply)({"params": params}, jnp.asarray(images))
    assert np.linalg.norm(ours - embeddings) / np.linalg.norm(embeddings) < 1e-4
    for name, array in export_params(TABLE, params).items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_stored_reference():
    with np.load(REFERENCES / "arcface.npz") as file:
        arrays = dict(file)
    state = {n.removeprefix("state/"): a for n, a in arrays.items() if n.startswith("state/")}
    assert_parity(TINY, state, arrays["images"], arrays["embeddings"])


@pytest.mark.parity
@pytest.mark.parametrize(
    "config",
    [
        ArcFaceConfig(image_size=32, width=8, depths=(1, 2, 1), reduction=4, features=10),
        ArcFaceConfig(image_size=16, width=8, depths=(2, 2), reduction=8, features=6),
        ArcFaceConfig(image_size=48, width=4, depths=(1, 1, 1, 1), reduction=2, features=12),
        ArcFaceConfig(image_size=16, width=12, depths=(3,), reduction=4, features=8),
        ArcFaceConfig(image_size=64, width=4, depths=(1, 3, 2), reduction=1, features=5),
    ],
)
def test_equal_to_torch(config):
    pytest.importorskip("torch")
    from make_arcface import random_arcface, run, state_of

    sizes = (config.image_size, config.width, config.depths, config.reduction, config.features)
    model = random_arcface(1, *sizes)
    assert_parity(config, state_of(model), **run(model, config.image_size, 2))


def test_ir_se50_at_full_size():
    """The size of the public network and the shapes at its ends."""
    shapes = shapes_of(ArcFaceConfig())
    names = expected(TABLE, shapes)
    assert names["output_layer.3.weight"] == (512, 512 * 7 * 7)
    assert names["body.23.res_layer.5.fc1.weight"] == (32, 512, 1, 1)
    assert names["body.3.shortcut_layer.0.weight"] == (128, 64, 1, 1)
    assert "body.0.shortcut_layer.0.weight" not in names
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    learned = sum(leaf.size for path, leaf in leaves if path[-1].key not in ("mean", "var"))
    assert learned == 43_797_696


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="not a multiple of 16"):
        ArcFaceConfig(image_size=100)
    with pytest.raises(ValueError, match=r"takes 16x16 pixels, got \(8, 8\)"):
        jax.eval_shape(ArcFace(TINY).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
