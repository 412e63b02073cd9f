"""What lies beside the pictures: labelled grids and animations of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from clipdiff_jax.core.files import write_whole
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pictures.records import Record, read_source

GRID_SIDE = 12  # pictures along a side of a grid; more are on further pages
Cell = Callable[[], np.ndarray]  # reads a picture, so that those of one page only are in memory
T = TypeVar("T")


def made(out: Path, record: Record) -> np.ndarray:
    """The picture of a record, in [-1, 1]."""
    return to_float(read_image(out / record["file"]))


def cell(out: Path, record: Record) -> Cell:
    """The picture of a record, to be read."""
    return lambda: made(out, record)


def source_cell(record: Record, size: int, name: str = "source") -> Cell:
    """The picture that a record's was made from, to be read."""
    return lambda: read_source(record, size, name)


def save_square(out: Path, records: Sequence[Record]) -> None:
    """As near a square as the pictures go; those that one grid holds."""
    shown = [made(out, record) for record in records[: GRID_SIDE**2]]
    write_whole(out / "grid.png", show(np.stack(shown))._repr_png_())


def save_columns(out: Path, columns: Sequence[Sequence[Cell]], labels: Sequence[str]) -> None:
    """One column for each group of pictures, `GRID_SIDE` to a file. labels: of the rows."""
    for file, chosen in _pages(out, columns):
        rows = [np.stack([read() for read in row]) for row in zip(*chosen, strict=True)]
        write_whole(file, show(rows, rows=labels)._repr_png_())


def save_beside_originals(
    out: Path, records: Sequence[Record], count: int, size: int, labels: Sequence[str]
) -> None:
    """Of `count` sources a column each: the original, of `size` pixels, above what was made of it.

    records: all sources' for the first of `labels`, then all for the next.
    """
    columns = [
        [source_cell(records[i], size), *(cell(out, one) for one in records[i::count])]
        for i in range(count)
    ]
    save_columns(out, columns, ["original", *labels])


def save_rows(out: Path, rows: Sequence[tuple[str, Sequence[Cell]]], titles: Sequence[str]) -> None:
    """One labelled row for each group of pictures, `GRID_SIDE` to a file. titles: of the columns"""
    for file, chosen in _pages(out, rows):
        pictures = [np.stack([read() for read in row]) for _, row in chosen]
        labels = [label for label, _ in chosen]
        write_whole(file, show(pictures, rows=labels, titles=titles)._repr_png_())


def spread(items: Sequence[T], count: int = GRID_SIDE) -> list[T]:
    """All of them, or `count` from the first to the last where there are more."""
    if len(items) <= count:
        return list(items)
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, count)]


def _pages(out: Path, groups: Sequence[T]) -> Iterator[tuple[Path, Sequence[T]]]:
    pages = -(-len(groups) // GRID_SIDE)
    for page in range(pages):
        name = "grid.png" if pages == 1 else f"grid-{page + 1}.png"
        yield out / name, groups[page * GRID_SIDE : (page + 1) * GRID_SIDE]
