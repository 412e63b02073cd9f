"""The pictures that a command is given: read once, at the size of the model, and named by hash.

Of a photograph it may be the faces in it that the model sees, see `cli.photographs`.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.alignment import FaceSquare, cut
from clipdiff_jax.data.image_files import EXTENSIONS, UnreadableImage, find_images, read_image
from clipdiff_jax.data.transforms import square
from clipdiff_jax.pictures.records import Record

logger = logging.getLogger(__name__)
T = TypeVar("T")


class NoFace(ValueError):
    """A picture without a face that can be found; the message names it."""


class Source(NamedTuple):
    """A picture: its file, the sha256 of that, and its middle square at the model's size.

    squares: where its faces are, if it is those that the model sees; `pixels` is then the first of
        them, and `faces` are all.
    """

    path: Path
    digest: str
    pixels: UInt8[np.ndarray, "size size 3"]
    squares: tuple[FaceSquare, ...] = ()
    faces: tuple[UInt8[np.ndarray, "size size 3"], ...] = ()

    @property
    def key(self) -> str:
        """By which `source_of` finds it."""
        return _key(self.digest, self.squares)

    def cell(self) -> UInt8[np.ndarray, "size size 3"]:
        """For a grid."""
        return self.pixels


DIGEST = "source_sha256"  # the field of a record that says which picture it is made from
SQUARES = "squares"  # the field that says where its faces are
Sources = Mapping[str, Source]  # by the key, which is the digest but where faces are aligned


def read_source(path: Path, size: int, squares: Sequence[FaceSquare] = ()) -> Source:
    """Reads a picture. Raises `UnreadableImage`; warns of one smaller than `size`.

    squares: of the faces in it that are meant; none for the middle square.
    """
    return of_image(path, read_image(path), size, squares)


def of_image(
    path: Path, image: UInt8[np.ndarray, "h w 3"], size: int, squares: Sequence[FaceSquare] = ()
) -> Source:
    """The same of a picture that is read."""
    if squares:
        faces = tuple(cut(image, square, size) for square in squares)
        return Source(path, digest(path), faces[0], tuple(squares), faces)
    height, width = image.shape[:2]
    if min(height, width) < size:
        logger.warning(
            "'%s' (%dx%d) is smaller than the model's %d pixels and is resized up",
            path, width, height, size,
        )  # fmt: skip
    return Source(path, digest(path), square(image, size))


def read_sources(paths: Sequence[Path], size: int, on_error: str) -> list[Source]:
    """The pictures named, and those in folders named, that can be read.

    size: the model's. on_error: "skip" says which cannot be read, "stop" raises. Raises
    `ValueError` where none is left.
    """
    return read_each(paths, lambda path: read_source(path, size), on_error)


def read_each(
    paths: Sequence[Path], read: Callable[[Path], T], on_error: str, done: str = "read"
) -> list[T]:
    """What `read` gives of every picture named.

    on_error: "skip" says which cannot be read or have no face, "stop" raises. done: what cannot be
    done with any of them, for the message of the `ValueError` where none is left.
    """
    files = image_files(paths)
    good = []
    for path in files:
        try:
            good.append(read(path))
        except (UnreadableImage, NoFace) as error:
            if on_error == "stop":
                raise
            logger.warning("skipped: %s", error)
    if not good:
        raise ValueError(f"none of the {len(files)} pictures can be {done}")
    return good


def by_digest(sources: Sequence[Source]) -> Sources:
    """Sources as what computes records looks them up."""
    return {source.key: source for source in sources}


def source_of(record: Record, sources: Sources) -> Source:
    """The picture that a record is made from."""
    return sources[_key(record[DIGEST], squares_of(record))]


def squares_of(record: Record) -> tuple[FaceSquare, ...]:
    """Where the faces are that a record is made from; none where it is of the middle square."""
    return tuple(FaceSquare(*numbers) for numbers in record.get(SQUARES, ()))


def _key(digest: str, squares: Sequence[FaceSquare]) -> str:
    return " ".join([digest, *(str(square.numbers) for square in squares)])


def described_source(source: Source, prefix: str = "") -> Record:
    """The fields of a record that name a picture it is made from: not where it lies."""
    fields = {"source": source.path.name, DIGEST: source.digest}
    named = {prefix + name: value for name, value in fields.items()}
    return named | (
        {SQUARES: [list(one.numbers) for one in source.squares]} if source.squares else {}
    )


def digest(path: Path) -> str:
    """The sha256 of a file. Raises `FileNotFoundError` for what is none."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no picture '{path}'")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def image_files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and the pictures in the folders named.

    Raises `ValueError` for a folder without pictures and `FileNotFoundError`, with the nearest
    name, for what is not there.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = find_images(path)
            if not found.paths and not found.left_out:
                raise ValueError(f"no pictures in the folder '{path}' ({', '.join(EXTENSIONS)})")
            files += sorted(found.paths + found.left_out)
        elif path.is_file():
            files.append(path)
        else:
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise FileNotFoundError(f"no picture or folder '{path}'.{nearest(path.name, beside)}")
    return files
