import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.pictures.grid import MARGIN, Grid, show


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


def test_it_displays_itself_and_saves(tmp_path):
    grid = show(np.zeros((4, 96, 96, 3), np.float32))
    assert isinstance(grid, Grid)
    assert grid._repr_png_().startswith(b"\x89PNG")
    grid.save(str(tmp_path / "grid.png"))
    assert Image.open(tmp_path / "grid.png").size == grid.image.size
