"""Files are whole or not there, a write that fails says where, and caches lie in one folder.

What the system reports of a full disk names no file; people need to know which one it was.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

CACHE_VARIABLE = "CLIPDIFF_JAX_CACHE"


def cache_dir() -> Path:
    """The folder of caches: `$CLIPDIFF_JAX_CACHE`, else `~/.cache/clipdiff_jax`."""
    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder).expanduser() if folder else Path.home() / ".cache" / "clipdiff_jax"


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises `ValueError` that names a file of something else, `OSError` for what cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"'{path}' is not text in UTF-8: {error}") from error


def free_path(path: Path) -> Path:
    """The path, or the first of NAME-2, NAME-3, ... beside it, that nothing lies at."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns whatever a write of `path` fails with into an `OSError` that names it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if isinstance(error, OSError) and str(path) in str(error):
            raise
        reason = getattr(error, "strerror", None) or error
        raise OSError(f"could not write '{path}': {reason}") from error


def json_bytes(document: Any) -> bytes:
    """A JSON file's content, as people read it."""
    return (json.dumps(document, indent=2) + "\n").encode()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside its place and renames it. Raises `OSError` that names it."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
