"""Photographs as they come: the faces in them are cut out, edited, and pasted back.

A model of faces has seen them aligned, so that the middle square of a photograph is nothing it
knows. Which pictures are photographs, and what of them is meant, is said by `--align`.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

from clipdiff_jax.cli.sources import NoFace, Source, of_image, read_each
from clipdiff_jax.data.alignment import FaceSquare, paste
from clipdiff_jax.data.avatars.photographs import look_like_photographs
from clipdiff_jax.data.faces import EXTRA, Align, FaceFinder, chosen, doubts, is_installed
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.transforms import to_float, to_uint8

AUTO = "auto"
CHOICES = (AUTO, "none", "largest", "all")
logger = logging.getLogger(__name__)


def add_align(parser: argparse._ActionsContainer) -> None:
    """What of a photograph is edited."""
    parser.add_argument(
        "--align", choices=CHOICES, default=argparse.SUPPRESS,
        help="edit the largest face, or all, cut out as models of faces expect it, and paste them "
        "back into the whole picture; or none: the middle square (default: auto, the largest face "
        "of photographs, the middle square of other pictures; faces need the extra [faces])",
    )  # fmt: skip


def read_photographs(
    paths: Sequence[Path], size: int, on_error: str, align: str = AUTO
) -> list[Source]:
    """The pictures named, and those in folders named, with the faces that are meant.

    Args:
      paths: pictures and folders.
      size: the model's, in pixels.
      on_error: "skip" says which pictures cannot be read or, with "largest" and "all", have no
        face; "stop" raises.
      align: one of `CHOICES`.

    Raises `ValueError` where none is left, and for faces without the extra that finds them.
    """
    if align not in (AUTO, "none") and not is_installed():
        raise ValueError(f"--align {align}: {EXTRA}")
    return read_each(paths, _Reader(size, align).read, on_error, "used")


def pasted(
    source: Source, made: Float[Array | np.ndarray, "faces size size 3"]
) -> Float32[np.ndarray, "h w 3"]:
    """What becomes of a picture whose faces were edited: itself, or its square."""
    if not source.squares:
        return np.asarray(made[0], np.float32)
    whole = read_image(source.path)
    for square, before, after in zip(source.squares, source.faces, made, strict=True):
        whole = paste(whole, square, before, to_uint8(np.asarray(after, np.float32)))
    return to_float(whole)


def all_pasted(
    sources: Sequence[Source], made: Float[np.ndarray, "faces size size 3"]
) -> Iterator[Float32[np.ndarray, "h w 3"]]:
    """The same of several pictures, whose faces follow one another."""
    start = 0
    for source in sources:
        count = len(source.faces) or 1
        yield pasted(source, made[start : start + count])
        start += count


class _Reader:
    """Reads pictures one by one; the finder of faces is loaded with the first that needs it."""

    def __init__(self, size: int, align: str) -> None:
        self.size, self.align = size, align
        self.finder: FaceFinder | None = None
        self.told = False

    def read(self, path: Path) -> Source:
        image = read_image(path)
        squares = [] if self.align == "none" else self._squares(path, image)
        return of_image(path, image, self.size, squares)

    def _squares(self, path: Path, image: UInt8[np.ndarray, "h w 3"]) -> list[FaceSquare]:
        auto = self.align == AUTO
        if auto and not look_like_photographs([image]):
            return []
        if auto and not is_installed():
            if not self.told:
                self.told = True
                logger.warning(
                    "'%s' looks like a photograph and is cut to its middle square: %s and the face "
                    "is edited within the whole picture", path, EXTRA,
                )  # fmt: skip
            return []
        if self.finder is None:
            self.finder = FaceFinder.load()
        found = self.finder.find(image)
        if auto and found and found[0].square.fills(*image.shape[:2]):
            return []
        if auto and not found:
            logger.info("no face is found in '%s': its middle square is edited", path)
            return []
        if not found:
            raise NoFace(f"no face is found in '{path}'; --align none takes its middle square")
        align: Align = "all" if self.align == "all" else "largest"
        faces = chosen(found, align)
        for face in faces:
            for doubt in doubts(face, self.size):
                place = ", ".join(f"{one:.0f}" for one in face.eyes.mean(0))
                logger.warning("'%s': the face at %s %s", path, place, doubt)
        return [FaceSquare(*(round(number, 2) for number in face.square.numbers)) for face in faces]
