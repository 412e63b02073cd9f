"""A grid of pictures that shows itself in a notebook, with labels where there are any."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped, UInt8
from PIL import Image

from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.data.images import Picture, read_levels
from clipdiff_jax.data.sheets import at_size, draw_sheet
from clipdiff_jax.pictures.labels import Label, read_text_of
from clipdiff_jax.pictures.saving import FORMATS, Format, holds, written

Images = Shaped[Array | np.ndarray, "n _ _ _"]
Row = Images | Sequence[Picture]
_MARK = "clipdiff_jax_kind"  # a text in its file
_GRID = {_MARK: "grid"}
SMALLEST_SHOWN = 96  # small pictures are magnified, so that there is something to see


@dataclass(frozen=True, eq=False)
class Grid:
    """A picture of pictures: `.image` is the PIL image, `.save(path)` writes it."""

    image: Image.Image

    def save(self, path: str | Path) -> None:
        """In the format that the ending says, of which Pillow has more than `png` and `file`."""
        kind = FORMATS.get(Path(path).suffix.lower())
        if kind is not None:
            Path(path).write_bytes(written(self.image, kind, None, _GRID))
        else:
            self.image.save(path)

    def _repr_png_(self) -> bytes:
        return self.png()

    def png(self, label: Label | None = None) -> bytes:
        """The picture as a PNG file, which says of itself what `label` does."""
        return written(self.image, "PNG", label, _GRID)

    def file(self, format: Format, label: Label | None = None) -> tuple[str, bytes]:
        """The picture as a file, and its ending; one that is too wide for the format is a PNG."""
        if not holds(FORMATS[f".{format}"], self.image):
            format = "png"
        return f".{format}", written(self.image, FORMATS[f".{format}"], label, _GRID)


def is_grid(path: Path) -> bool:
    """Whether a file is a grid that was written here."""
    if path.suffix.lower() not in FORMATS:
        return False
    try:
        return read_text_of(path, _MARK) == _GRID[_MARK]
    except (OSError, ValueError):  # no picture at all
        return False


def show(
    images: Picture | Images | Sequence[Row | Picture],
    *,
    columns: int | None = None,
    rows: Sequence[str] = (),
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Grid:
    """Lays pictures out as a grid; in a notebook it displays itself.

    images: [N,H,W,3] (or [N,H,W,1], grey) in [-1, 1] or uint8, or a list of pictures, laid out as
        near a square as they go (or in `columns`); or a list of such batches, or of lists of
        pictures, all of one length and one row of the grid each; see `data.images.as_images`.
    rows: a label for each row. titles: one for each column. captions: one below each picture.
        Those that are too long are cut.

    Pictures may differ in size from row to row, and within lists; they are shown at that of the
    largest. Raises ValueError for labels that are not as many as what they label, and for no
    pictures.
    """
    if columns is not None:
        whole_number("columns", columns, low=1)
    single: Any = [images] if _is_picture(images) else images
    if isinstance(single, (list, tuple)) and not all(map(_is_picture, single)):
        batches = [list(batch) for batch in single]
        lengths = {len(batch) for batch in batches}
        if len(lengths) != 1:
            raise ValueError(f"the rows have different lengths: {[len(b) for b in batches]}")
        columns = lengths.pop()
        cells = [picture for batch in batches for picture in batch]
    else:
        cells = list(single)
        columns = columns or math.ceil(math.sqrt(len(cells)))
    if not cells:
        raise ValueError("there are no pictures to show")
    cells = _levels(cells)
    count = -(-len(cells) // columns)
    for what, labels, wanted in (
        ("rows", rows, count), ("titles", titles, columns), ("captions", captions, len(cells))
    ):  # fmt: skip
        if labels and len(labels) != wanted:
            raise ValueError(f"{len(labels)} labels in {what} for {wanted} of them")
    size = max(max(cell.shape[:2]) for cell in cells)
    size *= math.ceil(SMALLEST_SHOWN / size)
    resized = [at_size(Image.fromarray(cell), size) for cell in cells]
    sheet = draw_sheet(resized, size, columns, rows=rows, titles=titles, captions=captions)
    return Grid(sheet)


def _is_picture(value: object) -> bool:
    return isinstance(value, Image.Image) or getattr(value, "ndim", 0) == 3


def _levels(cells: list[Any]) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Each picture as 0 .. 255; grey ones get three channels."""
    grey = lambda one: getattr(one, "shape", ())[2:] == (1,)
    colour = [np.repeat(one, 3, axis=-1) if grey(one) else one for one in cells]
    return read_levels(colour)
