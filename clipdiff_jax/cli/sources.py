"""The pictures that a command is given, and the names of those it makes."""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.image_files import EXTENSIONS, UnreadableImage, read_image
from clipdiff_jax.pictures.records import Record


class Source(NamedTuple):
    """A picture that can be read, and the sha256 of its file."""

    path: Path
    digest: str


def read_sources(paths: Sequence[Path], size: int, on_error: str) -> list[Source]:
    """The pictures named, and those in folders named, that can be read.

    size: the model's. on_error: "skip" says which cannot be read, "stop" raises. Pictures smaller
    than the model are named too. Raises `ValueError` where none is left.
    """
    files = _image_files(paths)
    good = []
    for path in files:
        try:
            height, width = read_image(path).shape[:2]
        except UnreadableImage as error:
            if on_error == "stop":
                raise
            print(f"warning: skipped: {error}", file=sys.stderr)
            continue
        if min(height, width) < size:
            print(
                f"warning: '{path}' ({width}x{height}) is smaller than the model's {size} pixels "
                "and is enlarged",
                file=sys.stderr,
            )
        good.append(Source(path, digest(path)))
    if not good:
        raise ValueError(f"none of the {len(files)} pictures can be read")
    return good


def described_source(source: Source, prefix: str = "") -> Record:
    """The fields of a record that name a picture it is made from."""
    fields = {"source": str(source.path.resolve()), "source_sha256": source.digest}
    return {prefix + name: value for name, value in fields.items()}


def digest(path: Path) -> str:
    """The sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def free_name(stem: str, taken: set[str], ending: str = "png") -> str:
    """A file name not in `taken`, which it joins."""
    name, number = f"{stem}.{ending}", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.{ending}"
    taken.add(name)
    return name


def _image_files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
            if not found:
                raise ValueError(f"no pictures in the folder '{path}' ({', '.join(EXTENSIONS)})")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise FileNotFoundError(f"no picture or folder '{path}'.{nearest(path.name, beside)}")
    return files
