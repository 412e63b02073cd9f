"""A folder of images with captions, in the layout that the Hub's `imagefolder` reads.

Captions come from `metadata.jsonl` or `metadata.csv` (`file_name`, and `captions`, `caption` or
`text`; further string values are attributes) or from a text file beside the image (`a.png` and
`a.txt`, one caption per line).
"""

import csv
import functools
import hashlib
import io
import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from clipdiff_jax.core.files import read_text
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.image_files import (
    EXTENSIONS,
    UnreadableImage,
    find_images,
    find_named,
    is_readable,
    read_image,
)

CAPTIONS = ("captions", "caption", "text")
NAMED = 20  # files that a message names; of more it says how many there are
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderData:
    """Images below `path`, sub-folders included, in the order of their names.

    `background` is the colour behind transparent pixels. With `on_error="raise"` an image that
    cannot be read raises when it is reached; with `"skip"` all images are read once on opening,
    and those that cannot be are left out, named and counted (`Folder.skipped`).
    """

    path: str
    on_error: Literal["raise", "skip"] = "raise"
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
        if not all(0 <= level <= 255 for level in self.background):
            raise ValueError(f"background must be RGB in 0..255, got {self.background}")


class Folder:
    """The images of a folder as a `DataSource`; `skipped` names the files left out."""

    def __init__(self, config: FolderData) -> None:
        self.config = config
        root = Path(config.path).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"no folder of images at '{root}'")
        found = find_images(root)
        paths, skipped = list(found.paths), list(found.left_out)
        if not paths:
            raise FileNotFoundError(
                f"no images in '{root}'; looked for files ending in {', '.join(EXTENSIONS)}"
            )
        if config.on_error == "skip":
            readable = [p for p in bar(paths, "checking images", unit="img") if is_readable(p)]
            skipped += sorted(set(paths) - set(readable))
            if not readable:
                raise UnreadableImage(f"none of the {len(paths)} images in '{root}' can be read")
            paths = readable
        self.skipped = tuple(map(str, skipped))
        if skipped:
            logger.warning("left out %d of %d images: %s", len(skipped), len(paths) + len(skipped),
                        named(self.skipped))  # fmt: skip
        self._root, self._paths = root, paths
        self._described = _read_metadata(root, paths)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the names, contents and descriptions; all files are read for it, once."""
        with ThreadPoolExecutor() as readers:  # waiting for a disk takes most of the time
            digests = readers.map(_digest, self._paths)
            contents = bar(digests, "hashing images", total=len(self._paths), unit="img")
            listing = [
                [path.relative_to(self._root).as_posix(), content, self._described.get(path)]
                for path, content in zip(self._paths, contents, strict=True)
            ]
        text = json.dumps([listing, self.config.background], sort_keys=True)
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = read_image(self._paths[index], self.config.background)
        return {"image": image, **self.describe(index)}

    def describe(self, index: int) -> dict[str, Any]:
        """The example without its image, which is not read."""
        path = self._paths[index]
        return {"name": path.relative_to(self._root).as_posix(), **self._described.get(path, {})}


def open_folder(config: FolderData) -> Folder:
    """Opens the folder.

    Raises `FileNotFoundError` where there is no folder or no image in it, `ValueError` for
    metadata that cannot be understood: all of its faults are named.
    """
    return Folder(config)


def named(names: Iterable[str]) -> str:
    """A list of names for a message, the first of them where there are many."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_metadata(root: Path, paths: list[Path]) -> dict[Path, dict[str, Any]]:
    """Captions and attributes by image, from text files and then from tables."""
    described: dict[Path, dict[str, Any]] = {}
    for path in paths:
        text = path.with_suffix(".txt")
        if text.is_file():
            lines = [line.strip() for line in _lines(text)]
            described[path] = {"captions": [line for line in lines if line]}
    faults, entered = [], dict[Path, str]()
    for where, table, read in _entries(root):
        try:
            name, example = _checked_entry(read)
            path = _inside(root, table.parent, name)
            if path in entered:
                raise ValueError(f"'{name}' is described twice, first in {entered[path]}")
        except ValueError as error:
            faults.append(f"{where}: {error}")
            continue
        entered[path] = where
        described[path] = described.get(path, {}) | example
    if faults:
        raise ValueError(f"{len(faults)} entries are wrong: " + named(faults))
    return described


def _entries(root: Path) -> Iterator[tuple[str, Path, Any]]:
    """(where it stands, its table, the entry or the error in its place) of all tables."""
    for table in find_named(root, "metadata.jsonl"):
        for number, line in enumerate(_lines(table), 1):
            if line.strip():
                yield f"{table}, line {number}", table, _parsed(line)
    for table in find_named(root, "metadata.csv"):
        reader = csv.DictReader(io.StringIO("\n".join(_lines(table)), newline=""))
        for row in reader:
            yield f"{table}, line {reader.line_num}", table, dict(row)


def _lines(path: Path) -> list[str]:
    """The lines of a text file in UTF-8, with or without a byte order mark.

    Lines end at line feeds alone: other separators may stand inside of a JSON string.
    """
    return [line.removesuffix("\r") for line in read_text(path).split("\n")]


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        return ValueError(f"not JSON ({error})")


def _inside(root: Path, folder: Path, name: str) -> Path:
    """The image that an entry names; `ValueError` where it is not below the folder of images."""
    written = PurePosixPath(name)
    if "\0" in name or not name or written.is_absolute():
        raise ValueError(f"'file_name' must be a relative path, got {name!r}")
    path = folder.joinpath(*(part for part in written.parts if part != "."))
    if ".." in written.parts:
        path = Path(*path.parts).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ValueError(f"'{name}' is outside of '{root}'")
        path = root / path.relative_to(root.resolve())
    if not path.is_file():
        raise ValueError(f"there is no file '{name}'")
    return path


def _checked_entry(entry: Any) -> tuple[str, dict[str, Any]]:
    """(file name, captions and attributes) of an entry; `ValueError` says what is wrong with it."""
    if isinstance(entry, ValueError):
        raise entry
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise ValueError(f"expected an object with a 'file_name', got {str(entry)[:200]}")
    name = entry.pop("file_name")
    example: dict[str, Any] = {}
    for key in CAPTIONS:
        found = entry.pop(key, None)
        if found is not None:
            found = [found] if isinstance(found, str) else found
            if not isinstance(found, list) or not all(isinstance(c, str) for c in found):
                raise ValueError(f"'{key}' must be a string or a list of strings")
            example["captions"] = example.get("captions", []) + [c for c in found if c.strip()]
    attributes = {key: value for key, value in entry.items() if isinstance(value, str)}
    if attributes:
        example["attributes"] = attributes
    return name, example
