"""What a checkpoint says of itself: its step, and shape, dtype and checksum of every array.

It is written into orbax's own metadata, with a checksum over the record, so that it appears with
the checkpoint or not at all. What is read back is held against it: a checkpoint is good where every
array is there and has the numbers that were saved. A list of its files beside them tells which one
is missing or cut short; it is for the message, and may be missing itself.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tensorstore

from clipdiff_jax.core.types import Params
from clipdiff_jax.training.checksums import named_leaves

METADATA = "_CHECKPOINT_METADATA"  # orbax's file of the metadata
FILES = "files.json"
_KEY, _MAX_BYTES = "clipdiff_jax", 2**28
_STATE, _INDEX = "state", "manifest.ocdbt"  # orbax's folder of the arrays, the index of those


class DamagedError(ValueError):
    """A checkpoint that is not what was saved; the message names what is wrong with it."""


class Saved(NamedTuple):
    """An array as it was saved."""

    shape: tuple[int, ...]
    dtype: str
    checksum: int


class Record(NamedTuple):
    """A checkpoint as it was saved: arrays by their path in the state."""

    step: int
    arrays: dict[str, Saved]

    def to_metadata(self) -> dict[str, Any]:
        """As orbax keeps it."""
        said = {"step": self.step, "arrays": {n: list(a) for n, a in self.arrays.items()}}
        return {_KEY: {**said, "checksum": _digest(said)}}


def record_of(step: int, state: Params, checksums: Mapping[str, int]) -> Record:
    """The record of a state that is about to be saved."""
    arrays = {
        name: Saved(tuple(leaf.shape), str(leaf.dtype), checksums[name])
        for name, leaf in named_leaves(state).items()
    }
    return Record(step, arrays)


def read_record(folder: Path) -> Record | None:
    """The record of the checkpoint in `folder`; None of one by a version that wrote none.

    Raises `DamagedError` that names the file where there is none to read.
    """
    path = folder / METADATA
    if not path.is_file():
        raise DamagedError(f"'{path}' is missing")
    if not 0 < path.stat().st_size <= _MAX_BYTES:
        raise DamagedError(f"'{path}' has {path.stat().st_size} bytes")
    try:
        document = json.loads(path.read_bytes())
        written = document["custom_metadata"]
        if not written:
            return None
        said = dict(written[_KEY])
        if said.pop("checksum") != _digest(said):
            raise DamagedError(f"'{path}' is not what was saved")
        arrays = {name: Saved(tuple(a[0]), a[1], a[2]) for name, a in said["arrays"].items()}
        return Record(said["step"], arrays)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"'{path}' is not what was saved: {error}") from error


def list_files(folder: Path) -> None:
    """Writes the list of the files that hold the arrays, with their sizes."""
    files = [path for path in (folder / _STATE).rglob("*") if path.is_file()]
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    (folder / FILES).write_text(json.dumps(sizes))


def check_files(folder: Path) -> None:
    """Raises `DamagedError` that names the file where one of the arrays' is missing or of another
    size than it had, and `ValueError` where their index is damaged."""
    try:
        sizes = dict(json.loads((folder / FILES).read_bytes()))
    except (OSError, ValueError, TypeError, RecursionError):
        sizes = {}  # the arrays themselves tell whether they are whole
    for name, size in sizes.items():
        path = folder / str(name)
        if not path.is_file():
            raise DamagedError(f"'{path}' is missing")
        if path.stat().st_size != size:
            raise DamagedError(f"'{path}' has {path.stat().st_size} bytes, expected {size}")
    if (folder / _STATE / _INDEX).exists():
        index = {"driver": "ocdbt", "base": f"file://{folder / _STATE}/"}
        tensorstore.KvStore.open(index).result().list().result()


def check_saved(record: Record, folder: Path, checksums: Mapping[str, int]) -> None:
    """Raises `DamagedError` where arrays that were read are not what was saved."""
    if str(record.step) != folder.name:
        raise DamagedError(f"'{folder}' holds the state of step {record.step}")
    wrong = [n for n, saved in record.arrays.items() if checksums.get(n) != saved.checksum]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DamagedError(f"in '{folder}' the array '{wrong[0]}'{more} is not what was saved")


def _digest(said: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())
