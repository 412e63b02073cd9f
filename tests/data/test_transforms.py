import numpy as np
import pytest

from clipdiff_jax.data import transforms


def test_the_shorter_side_is_resized():
    image = np.zeros((30, 50, 3), np.uint8)
    assert transforms.resize_shorter(image, 15).shape == (15, 25, 3)
    assert transforms.resize_shorter(image.transpose(1, 0, 2), 60).shape == (100, 60, 3)
    assert transforms.resize_shorter(image, 30) is image


def test_the_middle_is_cut_out():
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(transforms.centre_crop(image, 4), image[1:5, 2:6])
    with pytest.raises(ValueError, match=r"7 x 7 pixels out of 6 x 8"):
        transforms.centre_crop(image, 7)


def test_a_wide_image_keeps_its_middle():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 255
    assert transforms.square(image, 5).min() > 200


def test_levels_map_to_minus_one_and_one_and_back():
    levels = np.arange(256, dtype=np.uint8)
    floats = transforms.to_float(levels)
    assert floats.dtype == np.float32
    assert (floats[0], floats[-1]) == (-1, 1)
    np.testing.assert_array_equal(transforms.to_uint8(floats), levels)
    assert (transforms.to_uint8(np.float32([-3, 3])) == [0, 255]).all()


def test_flips_are_even_and_leave_the_rest():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:, 0] = 255
    flip = transforms.prepare(4, flip=True)
    rng = np.random.default_rng(0)
    results = [flip({"image": image, "captions": ["a"]}, rng) for _ in range(200)]
    assert all(set(r) == {"image"} for r in results)
    flipped = np.mean([r["image"][0, 3, 0] == 1 for r in results])
    assert 0.4 < flipped < 0.6
    assert (transforms.prepare(4)({"image": image}, rng)["image"][:, 0] == 1).all()
