"""Sheets: pictures in rows and columns, with labels where there are any.

Labels are cut to the room that they have: those of rows are beside them, of columns above them, and
captions are below the pictures that they are of.
"""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from clipdiff_jax.core.lettering import Lettering

MARGIN = 2
_LINES = 2  # of a caption or a title
_ROW_LINES = 6  # of a label beside a row
_WIDEST = 2  # sides of a picture: the room for labels beside rows


def draw_sheet(
    cells: Sequence[Image.Image],
    size: int,
    columns: int,
    *,
    rows: Sequence[str] = (),
    titles: Sequence[str] = (),
    captions: Sequence[str] = (),
) -> Image.Image:
    """Pictures of at most `size` pixels a side, in reading order.

    rows: a label for each row. titles: one for each column. captions: one for each picture.
    """
    letters = Lettering(max(11, size // 10))
    beside = [letters.wrapped(label, _WIDEST * size, _ROW_LINES) for label in rows]
    above = [letters.wrapped(label, size, _LINES) for label in titles]
    below = [letters.wrapped(label, size, _LINES) for label in captions]
    widest = max((letters.width(line) for lines in beside for line in lines), default=0)
    left = widest + 3 * MARGIN if rows else 0
    top = letters.line * max(map(len, above), default=0) + (2 * MARGIN if titles else 0)
    under = letters.line * max(map(len, below), default=0) + (MARGIN if captions else 0)
    across, down = size + MARGIN, size + MARGIN + under
    count = -(-len(cells) // columns)
    canvas = Image.new("RGB", (left + columns * across, top + count * down), "white")
    pen = ImageDraw.Draw(canvas)
    for i, one in enumerate(cells):
        canvas.paste(one, (left + i % columns * across, top + i // columns * down))
    for i, lines in enumerate(below):
        place = left + i % columns * across + size // 2, top + i // columns * down + size + MARGIN
        _write(letters, pen, place, lines, "ma")
    for i, lines in enumerate(beside):
        height = letters.line * len(lines)
        place = left - 2 * MARGIN, top + i * down + (size - height) // 2
        _write(letters, pen, place, lines, "ra")
    for i, lines in enumerate(above):
        _write(letters, pen, (left + i * across + size // 2, MARGIN), lines, "ma")
    return canvas


def at_size(image: Image.Image, size: int) -> Image.Image:
    """A picture at `size` pixels along its longer side; small ones are magnified exactly."""
    scale = size / max(image.size)
    shape = (round(image.width * scale), round(image.height * scale))
    exact = scale.is_integer()
    return image.resize(shape, Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)


def _write(
    letters: Lettering,
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    lines: Sequence[str],
    anchor: str,
) -> None:
    for number, line in enumerate(lines):
        letters.write(pen, (place[0], place[1] + number * letters.line), line, anchor)
