"""What was made of pictures, shown beside them; photographs are reduced for it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.cli.sources import Source
from clipdiff_jax.pictures.pages import Cell, Group, cell, save_columns
from clipdiff_jax.pictures.records import Record
from clipdiff_jax.pictures.results import Results

PHOTOGRAPH = 384  # pixels of the longer side that a grid shows of one


def save_beside_sources(
    results: Results, records: Sequence[Record], sources: Sequence[Source], labels: Sequence[str]
) -> None:
    """A column for each source: itself above what was made of it.

    records: all sources' for the first of `labels`, then all for the next.
    """
    groups = []
    for i, source in enumerate(sources):
        made = [cell(results.folder / record["file"]) for record in records[i :: len(sources)]]
        cells = [source.cell, *made]
        if source.squares:
            cells = [_reduced(one) for one in (cell(source.path), *made)]
        groups.append(Group(source.path.stem, cells))
    save_columns(results, groups, ["original", *labels])


def _reduced(whole: Cell) -> Cell:
    def read() -> UInt8[np.ndarray, "h w 3"]:
        picture = Image.fromarray(whole())
        picture.thumbnail((PHOTOGRAPH, PHOTOGRAPH), Image.Resampling.LANCZOS)
        return np.asarray(picture)

    return read
