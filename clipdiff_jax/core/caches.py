"""What the library keeps in its cache folder: what each thing is, how much of it there is, and how
it is deleted.

Only what has the names and the content that this library writes is known here, so only that is ever
deleted: a cache folder may lie among a user's own files.
"""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from clipdiff_jax.core.files import cache_dir

_TEMPORARY = r"\.?"  # before, and `_RANDOM` behind, the name of what was being written
_RANDOM = r"([.-]\w{8})?"
UNFINISHED = 24 * 3600  # seconds after which nobody goes on writing what is still temporary


@dataclass(frozen=True)
class Cache:
    """One kind of thing that is kept.

    Attributes:
      what: in words.
      folder: in the cache folder; "" for that itself.
      name: what a file, or a folder, of it is called.
      inside: what files in such a folder are called; None where it is files.
      kept: whether it is worth keeping: not deleted unless it is named.
    """

    what: str
    folder: str
    name: str
    inside: str | None = None
    kept: bool = False


CACHES: dict[str, Cache] = {
    "compiled": Cache("compiled programs", "xla", r".+-[0-9a-f]{64}-(cache|atime)"),
    "avatars": Cache(
        "rendered avatars", "", rf"{_TEMPORARY}avatars-\w+-\d+px-[0-9a-f]{{16}}{_RANDOM}",
        inside=r"faces\.jsonl|images\.npy",
    ),
    "latents": Cache(
        "latents of pictures that edits were learned from", "latents",
        rf"{_TEMPORARY}[0-9a-f]{{24}}\.npz{_RANDOM}",
    ),
    "features": Cache(
        "features of pictures that were measured", "features", r"[0-9a-f]{24}",
        inside=rf"{_TEMPORARY}\d{{5}}\.npy{_RANDOM}",
    ),
    "edits": Cache(
        "edits that were learned from two texts", "edits",
        rf"{_TEMPORARY}[^/]*-to-[^/]*-[0-9a-f]{{12}}{_RANDOM}",
        inside=r"config\.json|model\.safetensors", kept=True,
    ),
}  # fmt: skip


class Entry(NamedTuple):
    """One thing that is kept: of which cache, where, its files, and how many bytes they have."""

    cache: str
    path: Path
    files: tuple[Path, ...]
    size: int


def find_entries(names: Iterable[str]) -> list[Entry]:
    """What is there of some caches, sorted by place. Links are left alone, and so is a folder with
    anything in it that was not written here, and what may still be being written."""
    return [entry for name in names for entry in sorted(_entries(name, CACHES[name]))]


def delete(entry: Entry) -> None:
    """Deletes what was found: its files by name, and its folder, if that is empty then."""
    for file in entry.files:
        file.unlink(missing_ok=True)
    if entry.path.is_dir():
        entry.path.rmdir()


def _entries(name: str, cache: Cache) -> Iterator[Entry]:
    folder = cache_dir() / cache.folder
    if not folder.is_dir() or (cache.folder and folder.is_symlink()):
        return
    for path in folder.iterdir():
        if path.is_symlink() or not re.fullmatch(cache.name, path.name):
            continue
        if cache.inside is None:
            files = [path] if path.is_file() else []
        else:
            files = _inside(path, cache.inside)
        if path.name.startswith(".") and _age(path, files) < UNFINISHED:
            continue
        if files or (cache.inside is not None and path.is_dir() and not any(path.iterdir())):
            size = sum(file.stat().st_size for file in files)
            yield Entry(name, path, tuple(files), size)


def _age(path: Path, files: Iterable[Path]) -> float:
    """Seconds since anything of it was written."""
    return time.time() - max(one.stat().st_mtime for one in (path, *files))


def _inside(folder: Path, names: str) -> list[Path]:
    """The files of a folder that has no others."""
    if not folder.is_dir():
        return []
    found = sorted(folder.iterdir())
    ours = [
        one
        for one in found
        if one.is_file() and not one.is_symlink() and re.fullmatch(names, one.name)
    ]
    return ours if len(ours) == len(found) else []
