"""Reads `.safetensors` files without copying: arrays are views of the memory-mapped file."""

import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from clipdiff_jax.core.json_files import parse_json
from clipdiff_jax.weights.errors import WeightsError

SAFETENSORS_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


_MAX_DIMENSIONS, _MAX_NAME = 32, 1000
_MAX_HEADER = 2**24  # bytes; it says name, type and place of each tensor


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Maps a `.safetensors` file into memory -> {name: read-only array}; nothing is copied.

    Raises `WeightsError` for a file that is missing, cut short or not of this format.
    """
    path, header, begin = _header(Path(path))
    header.pop("__metadata__", None)
    data = np.memmap(path, mode="r", offset=begin) if path.stat().st_size > begin else b""
    return {name: _view(data, entry, name, path) for name, entry in header.items()}


def read_metadata(path: str | Path) -> dict[str, str]:
    """What a `.safetensors` file says of itself; {} where it is none. Raises the same."""
    if Path(path).suffix != ".safetensors":
        return {}
    found = _header(Path(path))[1].get("__metadata__") or {}
    if not isinstance(found, dict):
        raise WeightsError(f"'{path}' has a {type(found).__name__} for metadata")
    return {str(name): str(value) for name, value in found.items()}


def _header(path: Path) -> tuple[Path, dict[str, Any], int]:
    """The path, the header, and where the numbers begin."""
    if not path.is_file():
        raise WeightsError(f"no file '{path}'")
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if size < 8 or header_size > size - 8:
            raise WeightsError(f"'{path}' ({size} bytes) is not a complete safetensors file")
        if header_size > _MAX_HEADER:
            raise WeightsError(f"'{path}' has a safetensors header of {header_size:,} bytes")
        text = file.read(header_size)
    try:
        header = parse_json(text, "its header")
    except ValueError as error:
        raise WeightsError(f"'{path}' has no safetensors header: {error}") from error
    if not isinstance(header, dict):
        raise WeightsError(f"'{path}' has a {type(header).__name__} for a safetensors header")
    return path, header, 8 + header_size


def _view(data: Any, entry: object, name: str, path: Path) -> np.ndarray:
    if len(name) > _MAX_NAME:
        raise WeightsError(f"'{path}' has a name of {len(name)} characters: '{name[:100]}...'")
    if not isinstance(entry, dict):
        raise WeightsError(f"'{path}' describes '{name}' by a {type(entry).__name__}")
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        wanted = "expected dtype, shape and data_offsets"
        raise WeightsError(f"'{path}' describes '{name}' wrongly: {wanted}") from error
    numbers = (*shape, begin, end)
    if len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise WeightsError(f"'{path}' gives '{name}' an impossible shape or place")
    if not isinstance(kind, str) or kind not in SAFETENSORS_DTYPES:
        said = kind[:20] if isinstance(kind, str) else type(kind).__name__
        raise WeightsError(f"'{name}' in '{path}' has type '{said}', which this library lacks")
    dtype = SAFETENSORS_DTYPES[kind]
    if end > len(data):
        raise WeightsError(f"'{path}' is cut short: '{name}' ends at {end} of {len(data)} bytes")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise WeightsError(f"'{name}' in '{path}' has {end - begin} bytes for {kind}{shape}")
    return np.frombuffer(data, dtype, count=math.prod(shape), offset=begin).reshape(shape)
