"""Cutouts: inside of the picture, and the whole of it is a plain resize."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.perceptual.cutouts import cut, cutout_boxes, cutouts, side_range


@pytest.mark.parametrize("shape", [(64, 64), (40, 96), (96, 33), (300, 260)])
@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 3.0])
def test_boxes_lie_inside_and_have_the_sides_asked_for(shape, power):
    size = 48
    top, left, side = np.asarray(cutout_boxes(jax.random.key(0), 2000, shape, size, power)).T
    smallest, largest = side_range(*shape, size)
    assert smallest - 1e-4 <= side.min() <= side.max() <= largest + 1e-4
    for corner, room in ((top, shape[0]), (left, shape[1])):
        assert -1e-4 <= corner.min() <= (corner + side).max() <= room + 1e-3
    if power == 0:
        np.testing.assert_allclose(side, largest)
    else:  # u^power is above 1/2 for a share 1 - 2^(-1/power) of all u
        share = np.mean(side > (smallest + largest) / 2)
        assert share == pytest.approx(1 - 0.5 ** (1 / power), abs=0.04)


def test_sides_of_small_pictures_vary_too():
    assert side_range(64, 64, 224) == (26, 64)
    assert side_range(256, 300, 224) == (224, 256)
    assert side_range(1, 1, 224) == (1, 1)


@pytest.mark.parametrize(("shape", "size"), [((32, 32), 16), ((16, 16), 24), ((20, 31), 20)])
def test_the_whole_picture_is_a_plain_resize(shape, size):
    image = jax.random.normal(jax.random.key(1), (1, *shape, 3))
    box = jnp.array([[0.0, (shape[1] - min(shape)) // 2, min(shape)]])
    middle = image[0, :, int(box[0, 1]) :][:, : min(shape)]
    wanted = jax.image.resize(middle, (size, size, 3), "linear", antialias=True)
    np.testing.assert_allclose(cut(image[0], box, size)[0], wanted, atol=1e-5)
    if shape[0] == shape[1]:
        one = cutouts(image, jax.random.split(jax.random.key(2), 1), 1, size, 0.0)
        np.testing.assert_allclose(one[0, 0], wanted, atol=1e-5)


def test_a_cutout_is_that_part_of_the_picture():
    """Of a ramp: the mean of a square is the value in its middle."""
    ramp = jnp.broadcast_to(jnp.arange(64.0)[:, None, None], (64, 64, 3))
    boxes = cutout_boxes(jax.random.key(3), 20, (64, 64), 8)
    means = cut(ramp, boxes, 8).mean((1, 2, 3))
    np.testing.assert_allclose(means, boxes[:, 0] + boxes[:, 2] / 2 - 0.5, atol=0.3)


def test_each_picture_has_its_own():
    images = jax.random.normal(jax.random.key(4), (2, 24, 24, 3))
    keys = jax.random.split(jax.random.key(5), 2)
    both = cutouts(images, keys, 3, 8)
    assert both.shape == (2, 3, 8, 8, 3)
    np.testing.assert_allclose(cutouts(images[1:], keys[1:], 3, 8)[0], both[1], atol=1e-6)
