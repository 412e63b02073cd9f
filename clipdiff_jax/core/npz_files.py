"""Arrays in an .npz that others wrote: sizes are looked at before anything is unpacked."""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

_TIMES, _FREE = 10, 2**26  # of the file's size, and bytes that any file may unpack to


def read_npz(
    path: Path, names: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of these names, and of the optional ones those that are there; no pickles.

    Raises `ValueError` that names the file where it is damaged, lacks one, or would unpack to many
    times its size, and `OSError` where it cannot be opened.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no '{path}'")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _TIMES * path.stat().st_size + _FREE:
            raise ValueError(f"it would unpack to {unpacked:,} bytes")
        with np.load(path, allow_pickle=False) as file:
            lacking = [name for name in names if name not in file]
            if lacking:
                raise ValueError(f"it has no '{lacking[0]}'")
            found = (*names, *(name for name in optional if name in file))
            return {name: np.asarray(file[name]) for name in found}
    except OSError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds
        said = f"{type(error).__name__} {error}"[:300]
        raise ValueError(f"'{path}' is no .npz that can be read: {said}") from error
