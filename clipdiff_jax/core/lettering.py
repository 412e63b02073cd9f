"""Text in pictures: a font that has its letters, and as much of it as there is room for.

Pillow's own font has the letters of European languages. For others, and for signs, the fonts of the
system are asked; where none has a letter, its place is an empty box.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from PIL import ImageDraw, ImageFont

from clipdiff_jax.core.checks import Number

_SYSTEM = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf",
    "wqy-zenhei.ttc", "msgothic.ttc", "seguisym.ttf",
)  # fmt: skip
_MISSING = "\U000ffffd"  # of no font: what is drawn for it is drawn for every missing letter
CUT = "..."
LINE = 1.25  # from one line to the next, in heights


class Lettering:
    """Letters of one height, in pixels."""

    def __init__(self, height: int) -> None:
        self.height = height
        self._fonts = [ImageFont.load_default(height)]
        self._others = self._system()

    @property
    def line(self) -> int:
        """Pixels from one line to the next."""
        return math.ceil(self.height * LINE)

    def font(self, text: str) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
        """The first font with all letters of the text, or Pillow's own."""
        for font in self._fonts:
            if _has(font, text):
                return font
        for font in self._others:
            self._fonts.append(font)
            if _has(font, text):
                return font
        return self._fonts[0]

    def width(self, text: str) -> int:
        """Of the text in one line, in pixels."""
        return math.ceil(self.font(text).getlength(text))

    def fitted(self, text: str, width: Number) -> str:
        """The text in one line, cut where it is wider than so many pixels."""
        text = " ".join(text.split())
        if self.width(text) <= width:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            fits = self.width(text[:middle].rstrip() + CUT) <= width
            low, high = (middle, high) if fits else (low, middle - 1)
        return text[:low].rstrip() + CUT

    def wrapped(self, text: str, width: Number, lines: int) -> list[str]:
        """The text in at most so many lines, the last of them cut."""
        words = text.split()
        found: list[str] = []
        while words and len(found) < lines - 1:
            count = 1
            while count < len(words) and self.width(" ".join(words[: count + 1])) <= width:
                count += 1
            found.append(self.fitted(" ".join(words[:count]), width))
            words = words[count:]
        return [*found, self.fitted(" ".join(words), width)] if words else found

    def write(
        self, pen: ImageDraw.ImageDraw, place: tuple[Number, Number], text: str, anchor: str = "la"
    ) -> None:
        """Draws one line in black; anchor: Pillow's word for what of the text is at the place."""
        pen.text(place, text, "black", self.font(text), anchor=anchor)

    def _system(self) -> Iterator[ImageFont.FreeTypeFont]:
        for name in _SYSTEM:
            try:
                yield ImageFont.truetype(Path(name).name, self.height)
            except OSError:  # not on this machine
                continue


def _has(font: "ImageFont.FreeTypeFont | ImageFont.ImageFont", text: str) -> bool:
    """Whether a font has every letter of a text."""
    if text.isascii():
        return True
    missing = font.getmask(_MISSING)
    empty = (missing.size, bytes(missing))
    letters = {letter for letter in text if not letter.isspace()}
    return all(((mask := font.getmask(one)).size, bytes(mask)) != empty for one in letters)
