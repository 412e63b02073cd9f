import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.alignment import FaceSquare, changed, cut, paste, square_of


def photograph(height=90, width=120):
    """Smooth, so that resampling loses little."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 9 + c) + np.cos(y / (7 + c)) for c in range(3)]
    return np.uint8(np.round(127.5 + 50 * np.stack(waves, -1)))


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_the_square_of_an_upright_face():
    """Eyes 60 apart, the mouth 50 below: half a side is 2 x 60, the middle 5 below the eyes."""
    left, right = np.array([[69.0, 100], [71, 100]]), np.array([[129.0, 100], [131, 100]])
    square = square_of(left, right, np.array([[80.0, 150], [120, 150]]))
    assert square.numbers == pytest.approx((100, 105, 120, 0))
    assert square.side == pytest.approx(240)
    tall = square_of(left, right, np.array([[80.0, 200], [120, 200]]))
    assert tall.side == pytest.approx(2 * 1.8 * 100)


def test_the_square_turns_with_the_face():
    left, right = np.array([[69.0, 100], [71, 100]]), np.array([[129.0, 100], [131, 100]])
    mouth = np.array([[80.0, 150], [120, 150]])
    angle = 0.3
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = [one @ turn for one in (left, right, mouth)]
    square = square_of(*points)
    assert (square.x, square.y) == pytest.approx(tuple(np.array([100, 105]) @ turn))
    assert (square.right_x, square.right_y) == pytest.approx(tuple(np.array([120, 0]) @ turn))


def test_a_square_of_whole_pixels_is_cut_as_it_is():
    photo = photograph()
    np.testing.assert_array_equal(cut(photo, FaceSquare(50, 40, 16, 0), 32), photo[24:56, 34:66])
    upside_down = cut(photo, FaceSquare(50, 40, -16, 0), 32)
    np.testing.assert_array_equal(upside_down, photo[24:56, 34:66][::-1, ::-1])
    on_its_side = cut(photo, FaceSquare(50, 40, 0, 16), 32)
    np.testing.assert_array_equal(on_its_side, np.rot90(photo[24:56, 34:66]))


def test_outside_is_the_reflection():
    photo = photograph()
    padded = np.pad(photo, [(20, 20), (20, 20), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(cut(photo, FaceSquare(10, 80, 16, 0), 32), padded[84:116, 14:46])


def test_cutting_does_not_alias():
    fine = np.uint8(255 * (np.indices((256, 256)).sum(0) % 2))[..., None].repeat(3, -1)
    crop = cut(fine, FaceSquare(128, 128, 100, 7), 32)
    assert np.abs(crop.astype(int) - 127.5).max() < 12


@pytest.mark.parametrize("square", [(50, 40, 16, 0), (60.3, 44.7, 25, 8), (5, 85, 20, -6)])
@pytest.mark.parametrize("size", [16, 64])
def test_an_unedited_crop_gives_the_photograph_back(square, size):
    photo, square = photograph(), FaceSquare(*square)
    crop = cut(photo, square, size)
    np.testing.assert_array_equal(paste(photo, square, crop, crop), photo)
    nearly = np.uint8(np.clip(crop.astype(int) + 8, 0, 255))
    np.testing.assert_array_equal(paste(photo, square, crop, nearly), photo)


@pytest.mark.parametrize("square", [(50, 40, 16, 0), (60.3, 44.7, 25, 8), (5, 85, 20, -6)])
def test_what_is_pasted_lies_where_it_was_cut(square):
    """Everything counts as changed, and what is pasted is what was there."""
    photo, square = photograph(), FaceSquare(*square)
    crop = cut(photo, square, 128)
    assert psnr(paste(photo, square, ~crop, crop), photo) > 45


def test_only_what_changed_is_pasted():
    photo, square = photograph(), FaceSquare(60, 45, 32, 0)
    crop = cut(photo, square, 64)
    edited = crop.copy()
    edited[20:30, 40:50] = 255
    made = paste(photo, square, crop, edited)
    np.testing.assert_array_equal(made[35:41, 70:76], 255)
    untouched = np.ones(photo.shape[:2], bool)
    untouched[13 + 16 : 13 + 34, 28 + 36 : 28 + 54] = False
    np.testing.assert_array_equal(made[untouched], photo[untouched])


def test_what_is_pasted_fades_out_towards_the_rim():
    photo, square = photograph(), FaceSquare(60, 45, 32, 0)
    made = paste(photo, square, cut(photo, square, 64), np.full((64, 64, 3), 255, np.uint8))
    lighter = (made.astype(int) - photo).min(-1)
    assert lighter[45, 28] <= 2
    row = (255 - made[45, 28:60].astype(int)).mean(-1) / (255 - photo[45, 28:60].astype(int)).mean(
        -1
    )
    assert (np.diff(row[:7]) < 0).all()
    np.testing.assert_allclose(row[7:], 0, atol=1e-6)


def test_pasting_into_a_larger_photograph():
    y, x = np.mgrid[:360, :480]
    photo = np.uint8(np.stack([x / 4, y / 3, (x + y) / 8], -1).round())
    square = FaceSquare(240, 180, 120, 20)
    crop = cut(photo, square, 32)
    made = paste(photo, square, crop, crop + np.uint8(60))
    middle = np.s_[130:230, 190:290]
    np.testing.assert_allclose(made[middle], photo[middle].astype(float) + 60, atol=1.6)


def test_changed_is_of_levels():
    before = np.full((64, 64, 3), 100, np.uint8)
    after = before.copy()
    after[:, :32] += 10
    assert changed(before, after).max() == 0
    after[:, :32] += 20
    weight = changed(before, after)
    assert weight[:, :24].min() == pytest.approx(1)
    assert weight[:, 40:].max() == 0


@pytest.mark.parametrize(
    "numbers", [(0, 0, 0, 0), (float("nan"), 0, 1, 0), (0, 0, float("inf"), 1)]
)
def test_no_square(numbers):
    with pytest.raises(ValueError, match="no square"):
        FaceSquare(*numbers)


@pytest.mark.parametrize("numbers", [(-9, 10, 5, 0), (10, 900, 5, 0), (10, 10, 1e6, 0)])
def test_a_square_elsewhere_is_refused(numbers):
    with pytest.raises(ValueError, match="not of a photograph"):
        cut(photograph(), FaceSquare(*numbers), 8)


def test_a_picture_that_is_cut_already():
    square = FaceSquare(32.5, 31, 30, 1)
    assert square.fills(64, 64)
    assert not square.fills(64, 128)
    assert not FaceSquare(32, 32, 20, 0).fills(64, 64)
    photo = np.asarray(Image.fromarray(photograph()).resize((64, 64)))
    assert cut(photo, square, 64).shape == (64, 64, 3)
