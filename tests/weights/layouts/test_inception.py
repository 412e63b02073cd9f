"""A loaded InceptionV3 gives the numbers of the original."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.paths import REFERENCES
from references.inception_weights import random_images, random_state

from clipdiff_jax.metrics.inception_features import inception_shapes
from clipdiff_jax.models.inception import Inception
from clipdiff_jax.weights.layouts.inception import TABLE
from clipdiff_jax.weights.tables import expected, export_params, import_params

SIDES = (107, 75)  # unlike, so that rows and columns are not confused; the last block has 2 x 1


@pytest.fixture(scope="module")
def network():
    return jax.jit(Inception().apply)


@pytest.fixture(scope="module")
def shapes():
    return inception_shapes()


def features(network, shapes, seed, images):
    state = random_state(expected(TABLE, shapes), seed)
    params = import_params(TABLE, state, shapes)
    for name in ("Mixed_7b.branch3x3_2a.conv.weight", "Conv2d_1a_3x3.bn.running_mean"):
        np.testing.assert_array_equal(export_params(TABLE, params)[name], state[name])
    return np.asarray(network({"params": params}, jnp.asarray(images)))


def test_stored_reference(network, shapes):
    with np.load(REFERENCES / "inception.npz") as file:
        wanted = file["features"]
    ours = features(network, shapes, 0, random_images(2, *SIDES, 1))[:, ::64]
    assert np.linalg.norm(ours - wanted) / np.linalg.norm(wanted) < 1e-4


@pytest.mark.parity
def test_equal_to_torch(network, shapes):
    pytest.importorskip("torch")
    import torch
    from make_inception import Inception as Original
    from make_inception import run, shapes_of

    with torch.device("meta"):
        original = Original()
    names = expected(TABLE, shapes)
    assert names == shapes_of(original)
    images = random_images(2, *SIDES, 3)
    ours, theirs = features(network, shapes, 2, images), run(2, images)
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-4
    assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def test_layout_of_the_published_file(shapes):
    """94 convolutions and 21.8 million parameters."""
    names = expected(TABLE, shapes)
    assert sum(name.endswith("conv.weight") for name in names) == 94
    assert names["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert names["Mixed_6c.branch7x7dbl_2.conv.weight"] == (160, 160, 7, 1)
    assert names["Mixed_7a.branch7x7x3_2.conv.weight"] == (192, 192, 1, 7)
    assert names["Mixed_7c.branch3x3dbl_3b.bn.running_var"] == (384,)
    learned = [shape for name, shape in names.items() if name.endswith("weight")]
    # torchvision's network has 23,834,568 with 1000 classes; 34,432 of these are batch norms'.
    biases = [shape for name, shape in names.items() if name.endswith("bn.bias")]
    assert sum(int(np.prod(shape)) for shape in learned + biases) == 23_834_568 - 2_049_000


def test_small_pictures_are_refused():
    with pytest.raises(ValueError, match=r"75 pixels per side or more, got \(74, 299\)"):
        jax.eval_shape(Inception().init, jax.random.key(0), jnp.zeros((1, 74, 299, 3)))
