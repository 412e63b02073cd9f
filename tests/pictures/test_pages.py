"""Grids on pages: all pictures, each with its caption, no more of them in memory than one page."""

import numpy as np
from PIL import Image

from clipdiff_jax.pictures import pages
from clipdiff_jax.pictures.pages import Group, save_columns, save_square, sheets
from clipdiff_jax.pictures.results import Results


def coloured(level, side=8):
    return np.full((side, side, 3), level, np.uint8)


def test_thousands_of_pictures_are_on_pages(tmp_path):
    alive, most = [], []

    def read(index):
        alive.append(index)
        most.append(len(alive))
        return coloured(index % 250)

    cells = [lambda i=i: read(i) for i in range(2000)]
    names = []
    for place, page in sheets(tmp_path / "sheet", cells, side=20):
        names.append(place.name)
        assert page.image.getpixel((5, 5))[0] == alive[0] % 250
        alive.clear()
    assert names == [f"sheet-{n}" for n in range(1, 6)]
    assert max(most) == 400


def test_one_page_has_no_number_and_every_picture(tmp_path):
    cells = [lambda i=i: coloured(i) for i in range(3)]
    save_square(Results(tmp_path), cells, captions=["a", "b", "c"])
    plain, captioned = tmp_path / "plain", tmp_path / "grid.png"
    save_square(Results(plain), cells)
    assert Image.open(captioned).height > Image.open(plain / "grid.png").height


def test_large_pictures_are_reduced_to_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "PAGE", 400)
    ((_, page),) = sheets(tmp_path / "sheet", [lambda: coloured(9, 600)] * 4)
    assert page.image.width < 420
    groups = [Group(name, [lambda: coloured(9, 600)]) for name in "ab"]
    save_columns(Results(tmp_path), groups, ["original"])
    assert Image.open(tmp_path / "grid.png").width < 480
