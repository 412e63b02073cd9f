"""Grids of many pictures in files: laid out by groups, and on as many pages as they need.

The grids of an earlier run in the folder stay: a further one is "grid-2.png". They are labelled as
what is in them, see `pictures.labels`, unless that is not wanted.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.core.files import free_path, write_whole
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.pictures.grid import Grid, show
from clipdiff_jax.pictures.labels import EDITED, GENERATED, Label
from clipdiff_jax.pictures.saving import PLAIN, Saving

GRID_SIDE = 12  # pictures along a side of a grid; more are on further pages
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


def save_square(folder: Path, cells: Sequence[Cell], saving: Saving = PLAIN) -> None:
    """As near a square as the pictures go; those that one grid holds."""
    shown = [read() for read in cells[: GRID_SIDE**2]]
    _write(folder / "grid", show(np.stack(shown)), _DRAWN, saving)


def save_columns(
    folder: Path, groups: Sequence[Group], labels: Sequence[str], saving: Saving = PLAIN
) -> None:
    """A column for each group, `GRID_SIDE` to a file. labels: of the rows."""
    for place, chosen in _pages(folder, groups):
        rows = zip(*([read() for read in group.cells] for group in chosen), strict=True)
        _write(place, show([list(row) for row in rows], rows=labels), _MIXED, saving)


def save_rows(
    folder: Path, groups: Sequence[Group], titles: Sequence[str], saving: Saving = PLAIN
) -> None:
    """A labelled row for each group, `GRID_SIDE` to a file. titles: of the columns."""
    for place, chosen in _pages(folder, groups):
        rows = [[read() for read in group.cells] for group in chosen]
        labels = [group.label for group in chosen]
        _write(place, show(rows, rows=labels, titles=titles), _MIXED, saving)


def spread(items: Sequence[T], count: int = GRID_SIDE) -> list[T]:
    """All of them, or `count` from the first to the last where there are more."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _write(place: Path, grid: Grid, label: Label, saving: Saving) -> None:
    """The grid as a file beside those that there are; place: without its ending."""
    ending, content = grid.file(saving.format, label if saving.label else None)
    write_whole(free_path(place.with_name(place.name + ending)), content)


def _pages(folder: Path, groups: Sequence[Group]) -> list[tuple[Path, Sequence[Group]]]:
    starts = range(0, len(groups), GRID_SIDE)
    names = ["grid"] if len(starts) == 1 else [f"grid-{i + 1}" for i in range(len(starts))]
    return [
        (folder / name, groups[start : start + GRID_SIDE])
        for name, start in zip(names, starts, strict=True)
    ]
