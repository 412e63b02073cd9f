"""Grids of many pictures in files: laid out by groups, and on as many pages as they need.

The grids of an earlier run in the folder stay, unless its pictures are replaced too: a further one
is "grid-2.png". They are labelled as what is in them, see `pictures.labels`, unless that is not
wanted.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.core.files import free_path, write_whole
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.grid import SMALLEST_SHOWN, Grid, is_grid, show
from clipdiff_jax.pictures.labels import EDITED, GENERATED, Label
from clipdiff_jax.pictures.results import Results

GRID_SIDE = 12  # pictures along a side of a grid; more are on further pages
PAGE = 4096  # pixels across, that a page's pictures have together
Cell = Callable[[], UInt8[np.ndarray, "h w 3"]]  # so that those of one page only are in memory
T = TypeVar("T")
_DRAWN, _MIXED = Label(GENERATED), Label(EDITED)


class Group(NamedTuple):
    """Pictures that belong together, in one column or row of a grid."""

    label: str
    cells: Sequence[Cell]


def cell(path: Path) -> Cell:
    """The picture of a file that we wrote, to be read."""
    return lambda: read_image(path)


def save_square(results: Results, cells: Sequence[Cell], captions: Sequence[str] = ()) -> None:
    """As near a square as the pictures go, `GRID_SIDE` squared to a file. captions: of each."""
    for place, page in sheets(results.folder / "grid", cells, captions):
        _write(results, place, page, _DRAWN)


def sheets(
    place: Path, cells: Sequence[Cell], captions: Sequence[str] = (), side: int = GRID_SIDE
) -> Iterator[tuple[Path, Grid]]:
    """Pages of `side` squared pictures one after another, each with its path without an ending.

    Pictures are read page by page and reduced to what a page has room for, so that thousands take
    no more memory than one page does.
    """
    starts = range(0, len(cells), side**2)
    pages: Iterable[int] = bar(starts, "sheets", unit="page") if len(starts) > 1 else starts
    for number, start in enumerate(pages, 1):
        chosen = cells[start : start + side**2]
        columns = math.ceil(math.sqrt(len(chosen))) if len(starts) == 1 else side
        shown = [_reduced(read(), columns) for read in chosen]
        page = show(shown, columns=columns, captions=captions[start : start + len(chosen)])
        yield _numbered(place, number, len(starts)), page


def save_columns(results: Results, groups: Sequence[Group], labels: Sequence[str]) -> None:
    """A labelled column for each group, `GRID_SIDE` to a file. labels: of the rows."""
    for place, chosen in _pages(results.folder, groups):
        rows = zip(*(_read(group, len(chosen)) for group in chosen), strict=True)
        titles = [group.label for group in chosen]
        grid = show([list(row) for row in rows], rows=labels, titles=titles)
        _write(results, place, grid, _MIXED)


def save_rows(results: Results, groups: Sequence[Group], titles: Sequence[str]) -> None:
    """A labelled row for each group, `GRID_SIDE` to a file. titles: of the columns."""
    for place, chosen in _pages(results.folder, groups):
        rows = [_read(group, len(titles)) for group in chosen]
        labels = [group.label for group in chosen]
        _write(results, place, show(rows, rows=labels, titles=titles), _MIXED)


def spread(items: Sequence[T], count: int = GRID_SIDE) -> list[T]:
    """All of them, or `count` from the first to the last where there are more."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _write(results: Results, place: Path, grid: Grid, label: Label) -> None:
    """The grid as a file, see above; place: without its ending."""
    saving = results.saving
    ending, content = grid.file(saving.format, label if saving.label else None)
    path = place.with_name(place.name + ending)
    replaced = results.existing == "overwrite" and is_grid(path)
    write_whole(path if replaced else free_path(path), content)


def _pages(folder: Path, groups: Sequence[Group]) -> list[tuple[Path, Sequence[Group]]]:
    starts = range(0, len(groups), GRID_SIDE)
    return [
        (_numbered(folder / "grid", number, len(starts)), groups[start : start + GRID_SIDE])
        for number, start in enumerate(starts, 1)
    ]


def _numbered(place: Path, number: int, pages: int) -> Path:
    return place if pages == 1 else place.with_name(f"{place.name}-{number}")


def _read(group: Group, columns: int) -> list[UInt8[np.ndarray, "h w 3"]]:
    return [_reduced(read(), columns) for read in group.cells]


def _reduced(image: np.ndarray, columns: int) -> UInt8[np.ndarray, "i j 3"]:
    """The picture, uint8 or in [-1, 1], at no more pixels than a page of so many columns has."""
    levels = image if image.dtype == np.uint8 else to_uint8(image)
    room = max(PAGE // columns, SMALLEST_SHOWN)
    if max(levels.shape[:2]) <= room:
        return levels
    picture = Image.fromarray(levels)
    picture.thumbnail((room, room), Image.Resampling.LANCZOS)
    return np.asarray(picture)
