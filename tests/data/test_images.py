"""What may be handed in as a picture, what is refused, and the middle square of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.images import (
    as_images,
    as_pair,
    as_squares,
    made_images,
    middle_square,
)
from clipdiff_jax.data.transforms import square, to_float

BYTES = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
FLOATS = to_float(BYTES)


@pytest.mark.parametrize(
    "given",
    [
        FLOATS,
        jnp.asarray(FLOATS),
        BYTES,
        list(FLOATS),
        tuple(BYTES),
        [Image.fromarray(one) for one in BYTES],
        [FLOATS[:1], Image.fromarray(BYTES[1])],
    ],
    ids=["floats", "device", "bytes", "list", "tuple", "pil", "mixed"],
)
def test_the_same_pictures_however_they_are_given(given):
    found = as_images(given)
    assert isinstance(found, jax.Array)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, FLOATS)


def test_bytes_on_the_device_are_converted():
    np.testing.assert_allclose(as_images(jnp.asarray(BYTES)), FLOATS, atol=1e-6)


def test_one_picture_is_a_batch_of_one():
    for one in (FLOATS[0], BYTES[0], Image.fromarray(BYTES[0])):
        np.testing.assert_array_equal(as_images(one), FLOATS[:1])


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float64])
def test_other_floats_become_float32(dtype):
    found = as_images(np.asarray(FLOATS, dtype))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, FLOATS, atol=1e-2)


def test_transparent_pixels_of_pil_pictures_are_white():
    clear = np.zeros((2, 2, 4), np.uint8)
    np.testing.assert_array_equal(as_images(Image.fromarray(clear)), np.ones((1, 2, 2, 3)))
    with pytest.raises(ValueError, match="mode 'F'"):
        as_images(Image.fromarray(np.zeros((2, 2), np.float32)))


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        (BYTES.astype(np.int32), TypeError, r"int32, expected floats in \[-1, 1\].*/ 127.5 - 1"),
        (BYTES > 3, TypeError, "images are bool"),
        (FLOATS.astype(np.complex64), TypeError, "images are complex64"),
        (jax.random.split(jax.random.key(0), 3), TypeError, "images are keys"),
        ("face.png", TypeError, "images are 'face.png'.*load_images"),
        ({"image": FLOATS}, TypeError, "images are a dict"),
        (FLOATS.transpose(0, 3, 1, 2), ValueError, r"\[2, 3, 6, 8\].*channels come last"),
        (FLOATS[..., :1], ValueError, "three channels also for grey"),
        (FLOATS[0, ..., 0], ValueError, "three channels also for grey"),
        (np.zeros((2, 6, 8, 4)), ValueError, r"without transparency, images\[\.\.\., :3\]"),
        (FLOATS[None], ValueError, r"\[1, 2, 6, 8, 3\], expected \[H,W,3\]"),
        (FLOATS[:0], ValueError, "there are none"),
        ([], ValueError, "no images"),
        ([FLOATS[0], FLOATS[0, :4]], ValueError, "different sizes \\(6x8, 4x8\\)"),
        (BYTES.astype(np.float32), ValueError, "from 0 to 25.*images / 127.5 - 1"),
        (FLOATS * 5, ValueError, "images are floats from -5 to 5"),
        ((FLOATS + 1) / 2, ValueError, r"from 0 to 1, most likely in \[0, 1\].*images \* 2 - 1"),
        (jnp.asarray((FLOATS + 1) / 2), ValueError, r"most likely in \[0, 1\]"),
        (list((FLOATS + 1) / 2), ValueError, r"most likely in \[0, 1\]"),
        ((FLOATS[0] + 1).astype(np.float16) / 2, ValueError, r"most likely in \[0, 1\]"),
        (np.full((2, 2, 3), np.nan), ValueError, "not finite"),
        (np.full((2, 2, 3), -np.inf), ValueError, "not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." not in value else "",
)
def test_what_is_no_picture_is_refused_and_says_why(given, error, says):
    with pytest.raises(error, match=says):
        as_images(given)


@pytest.mark.parametrize(
    "given",
    [np.zeros((8, 8, 3)), np.ones((8, 8, 3)), np.full((8, 8, 3), 0.2), 0.5 + 0.5 * FLOATS.clip(0)],
    ids=["grey", "white", "plain", "bright"],  # the last has nothing near mid-grey
)
def test_bright_pictures_are_pictures(given):
    np.testing.assert_allclose(as_images(given)[0], given if given.ndim == 3 else given[0])


def test_a_bright_picture_among_others_and_what_leaves_no_doubt():
    bright = FLOATS[0].clip(0)
    np.testing.assert_array_equal(as_images([bright, FLOATS[1]])[0], bright)
    np.testing.assert_array_equal(made_images(bright)[0], bright)
    assert as_pair(bright, FLOATS[1])[0].shape == (1, 6, 8, 3)
    with pytest.raises(ValueError, match="give them as uint8"):
        as_images(bright)
    with pytest.raises(ValueError, match="give them as uint8"):
        as_pair(bright, bright)
    with pytest.raises(ValueError, match="give them as uint8"):
        as_squares([bright, bright[:4]], 4)
    levels = np.uint8(np.round((bright + 1) * 127.5))
    np.testing.assert_allclose(as_images(levels)[0], bright, atol=1 / 127)


def test_traced_pictures_keep_their_gradient():
    loss = lambda x: jnp.sum(middle_square(as_images(x), 4) * 2)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(FLOATS), jax.grad(loss)(FLOATS), atol=1e-6)
    assert float(jnp.abs(jax.grad(loss)(FLOATS)).sum()) > 0
    with pytest.raises(ValueError, match="channels come last"):
        jax.jit(as_images)(FLOATS.transpose(0, 3, 1, 2))
    with pytest.raises(TypeError, match="int32"):
        jax.jit(as_images)(BYTES.astype(np.int32))


def test_the_middle_square_at_its_own_size_is_cut_only():
    np.testing.assert_array_equal(middle_square(FLOATS, 6), FLOATS[:, :, 1:7])
    np.testing.assert_array_equal(middle_square(FLOATS[:, :, :4], 4), FLOATS[:, 1:5, :4])


def test_the_middle_square_is_that_of_files():
    """The same filter as Pillow's on uint8, up to its rounding and to the pixels cut before."""
    x, y = np.meshgrid(np.linspace(0, 3, 96), np.linspace(0, 5, 64))
    smooth = np.round(127.5 + 100 * np.stack([np.sin(x), np.cos(y), np.sin(x + y)], -1))
    smooth = smooth.astype(np.uint8)
    for size in (16, 128):
        ours = np.asarray(middle_square(as_images(smooth), size))[0]
        files = to_float(square(smooth, size))
        inner = slice(size // 16, -(size // 16))  # cutting before or after resizing differs outside
        np.testing.assert_allclose(ours[:, inner], files[:, inner], atol=2.5 / 127.5)
    assert np.abs(ours).max() <= 1


def test_a_list_of_different_sizes_becomes_squares_of_one():
    given = [FLOATS[0], BYTES[1, :4], Image.fromarray(BYTES[0])]
    found = as_squares(given, 4)
    assert found.shape == (3, 4, 4, 3)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], FLOATS[1, :4, 2:6])
    np.testing.assert_array_equal(as_squares(FLOATS, 4), middle_square(FLOATS, 4))
