import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.sheets import MARGIN
from clipdiff_jax.pictures.grid import Grid, is_grid, show


def test_cells_are_in_reading_order_and_magnified():
    images = np.stack([np.full((48, 48, 3), v, np.float32) for v in (-1, 0, 1)])
    image = show(images, columns=2).image
    assert image.size == (2 * (96 + MARGIN), 2 * (96 + MARGIN))
    pixel = lambda x, y: image.getpixel((x, y))[0]
    assert (pixel(10, 10), pixel(110, 10), pixel(10, 110)) == (0, 128, 255)


def test_rows_may_differ_in_size_and_carry_labels():
    rows = [np.zeros((2, 64, 64, 3), np.float32), np.ones((2, 128, 128, 3), np.float32)]
    plain, labelled = (
        show(rows).image,
        show(rows, rows=["before", "after"], titles=["a", "b"]).image,
    )
    assert plain.size == (2 * (128 + MARGIN), 2 * (128 + MARGIN))
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    with pytest.raises(ValueError, match="3 labels in rows for 2"):
        show(rows, rows=["a", "b", "c"])
    with pytest.raises(ValueError, match="different lengths"):
        show([rows[0], rows[1][:1]])
    with pytest.raises(ValueError, match="no pictures"):
        show(np.zeros((0, 8, 8, 3), np.float32))


def test_pictures_however_they_are_given():
    """A batch, one picture, a list of them, bytes, PIL pictures, grey ones: the same grid."""
    levels = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    floats = levels.astype(np.float32) / 127.5 - 1
    wanted = np.asarray(show(floats, columns=2).image)
    for given in (levels, list(floats), [Image.fromarray(one) for one in levels]):
        np.testing.assert_array_equal(show(given, columns=2).image, wanted)
    one = show(floats[:1]).image
    for given in (floats[0], levels[0], Image.fromarray(levels[0]), [floats[:1]]):
        np.testing.assert_array_equal(show(given).image, one)
    grey = np.asarray(show(floats[..., :1], columns=2).image)
    assert (grey == grey[..., :1]).all()
    with pytest.raises(ValueError, match="columns=0, expected a number of at least 1"):
        show(floats, columns=0)
    with pytest.raises(ValueError, match="not finite"):
        show(np.full((1, 8, 8, 3), np.nan))


def test_it_displays_itself_and_saves(tmp_path):
    grid = show(np.zeros((4, 96, 96, 3), np.float32))
    assert isinstance(grid, Grid)
    assert grid._repr_png_().startswith(b"\x89PNG")
    grid.save(str(tmp_path / "grid.png"))
    assert Image.open(tmp_path / "grid.png").size == grid.image.size


def test_what_is_no_picture_is_no_grid(tmp_path, monkeypatch):
    """Nor is one of more pixels than Pillow opens."""
    show(np.zeros((2, 4, 4, 3), np.uint8)).save(tmp_path / "grid.png")
    assert is_grid(tmp_path / "grid.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4)
    assert not is_grid(tmp_path / "grid.png")
    (tmp_path / "text.png").write_text("no picture")
    assert not is_grid(tmp_path / "text.png")


def test_a_grid_too_wide_for_its_format_is_a_png():
    wide = Grid(Image.new("RGB", (16_384, 8)))
    assert [wide.file(one)[0] for one in ("png", "jpg", "webp")] == [".png", ".jpg", ".png"]
