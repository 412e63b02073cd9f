"""A model is a folder: `config.json` says what it is, `model.safetensors` holds its arrays.

The arrays' names are their paths in the parameter tree, `"vision/stem/kernel"`. Whatever this
library trains or converts is written so, and every `load_*` reads it. Reading is lazy: the arrays
are views of the memory-mapped file until something computes with them.
"""

import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import writing

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
FORMAT_VERSION = 1
ASSETS = Path(__file__).parent.parent / "assets"

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


class WeightsError(ValueError):
    """A file or folder of weights that cannot be read: the message names it and what was wrong."""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns `{"a/b/c": leaf}` for a nested mapping, in sorted order of the paths."""
    flat: dict[str, Any] = {}
    for name in sorted(tree):
        if "/" in name:
            raise ValueError(f"the name '{name}' in a parameter tree contains '/'")
        value = tree[name]
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = value
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Inverts `flatten`. Raises `ValueError` where one path is both a leaf and a branch."""
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *branches, name = path.split("/")
        node = tree
        for branch in branches:
            node = node.setdefault(branch, {})
            if not isinstance(node, dict):
                raise ValueError(f"'{path}' runs through '{branch}', which is an array")
        if name in node:
            raise ValueError(f"'{path}' is both an array and a branch")
        node[name] = leaf
    return tree


def take_fitting(
    old: Mapping[str, Any], fresh: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], list[str]]:
    """`fresh` parameters with those of `old` in their place where path and shape agree.

    Returns them and the paths that stay fresh. Raises `WeightsError`, naming `source`, where
    nothing fits.
    """
    before, after = flatten(old), flatten(fresh)
    fits = {k for k in before if k in after and np.shape(before[k]) == np.shape(after[k])}
    if not fits:
        raise WeightsError(f"no parameter of '{source}' fits the network")
    merged = {name: before[name] if name in fits else after[name] for name in after}
    return unflatten(merged), sorted(after.keys() - fits)


def fingerprint(params: Any) -> str:
    """A hash of names, shapes and values of a parameter pytree, independent of the machine."""
    digest = hashlib.sha256()
    for name, leaf in flatten(params).items():
        array = np.ascontiguousarray(np.asarray(leaf, np.float32))
        digest.update(f"{name}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def cast(array: Any, dtype: Any) -> np.ndarray:
    """Returns `array` on the host; floating-point arrays become `dtype` (None keeps theirs)."""
    array = np.asarray(array)
    floating = array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16
    return array.astype(dtype, copy=False) if dtype is not None and floating else array


def save_folder(
    path: str | Path,
    config: Mapping[str, Any],
    params: Mapping[str, Any],
    dtype: Any = None,
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes the model folder `path`, replacing what was there in one step.

    Args:
      path: the folder; its parents are made.
      config: JSON-ready; must hold `"kind"`. `"version"` is added.
      params: nested mapping of arrays.
      dtype: what floating-point arrays are stored in; None keeps each array's own.
      extra_files: further files by name, such as a tokenizer.

    Everything is written to a temporary sibling and synced before it takes the folder's name, so
    an interrupted write leaves the old folder untouched.
    """
    if "kind" not in config:
        raise ValueError(f"the config of a model folder needs a 'kind', got keys {list(config)}")
    arrays = {
        name: np.ascontiguousarray(cast(leaf, dtype)).reshape(np.shape(leaf))
        for name, leaf in flatten(params).items()
    }
    document = {"version": FORMAT_VERSION, **config}
    files = {CONFIG_NAME: json_bytes(document), **(extra_files or {})}
    return write_folder(path, files, {WEIGHTS_NAME: arrays})


def json_bytes(document: Mapping[str, Any]) -> bytes:
    """A JSON file's content."""
    return (json.dumps(document, indent=2) + "\n").encode()


def write_folder(
    path: str | Path,
    files: Mapping[str, bytes],
    weights: Mapping[str, Mapping[str, np.ndarray]],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes the folder `path`, replacing what was there in one step, see `save_folder`.

    Args:
      path: the folder; its parents are made.
      files: contents by name.
      weights: tensors by name, by name of their safetensors file.
      metadata: of each safetensors file.

    Raises `OSError` that names the folder where it cannot be written, such as on a full disk.
    """
    path = Path(path).absolute()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            temporary.chmod(0o755)
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            for name, arrays in weights.items():
                save_file(dict(arrays), temporary / name, dict(metadata) if metadata else None)
            for file in temporary.iterdir():
                file.chmod(0o644)
                _sync(file)
            _sync(temporary)
            _replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        _sync(path.parent)
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(new: Path, path: Path) -> None:
    """Gives `new` the name `path`. A folder cannot be renamed onto a full one, hence the detour."""
    old = Path(f"{new}.old")
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def load_folder(path: str | Path, dtype: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads a model folder -> (config, nested parameters as host arrays).

    Args:
      path: the folder.
      dtype: what floating-point arrays are turned into; None leaves them as they are stored, as
        views of the memory-mapped file.

    Raises `WeightsError` where the folder is not one of ours, is incomplete or is too new.
    """
    path = Path(path)
    config = read_config(path)
    if config.get("version") != FORMAT_VERSION or "kind" not in config:
        raise WeightsError(
            f"'{path / CONFIG_NAME}' has kind {config.get('kind')!r} and version "
            f"{config.get('version')!r}; expected a kind and version {FORMAT_VERSION}"
        )
    arrays = read_safetensors(path / WEIGHTS_NAME)
    return config, unflatten({name: cast(array, dtype) for name, array in arrays.items()})


def read_config(path: str | Path, name: str = CONFIG_NAME) -> dict[str, Any]:
    """Reads a JSON file of the folder `path`; `WeightsError` where there is none to read."""
    file = Path(path) / name
    if not file.is_file():
        hint = nearest(Path(path).name, [p.name for p in Path(path).parent.glob("*") if p.is_dir()])
        raise WeightsError(f"no '{name}' in '{path}': not a model folder.{hint}")
    try:
        config = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"'{file}' is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"'{file}' holds a {type(config).__name__}, expected an object")
    return config


def is_our_folder(path: str | Path) -> bool:
    """Whether `path` is a folder that `save_folder` wrote (and not, say, a transformers one)."""
    if not (Path(path) / CONFIG_NAME).is_file():
        return False
    config = read_config(path)
    return "kind" in config and "version" in config


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Maps a `.safetensors` file into memory -> {name: read-only array}; nothing is copied.

    Raises `WeightsError` for a file that is missing, cut short or not of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"no file '{path}'")
    size = path.stat().st_size
    with path.open("rb") as file:
        header_size = int.from_bytes(file.read(8), "little")
        if size < 8 or header_size > size - 8:
            raise WeightsError(f"'{path}' ({size} bytes) is not a complete safetensors file")
        try:
            header = json.loads(file.read(header_size))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise WeightsError(f"'{path}' has no safetensors header: {error}") from error
    header.pop("__metadata__", None)
    data = np.memmap(path, mode="r", offset=8 + header_size) if size > 8 + header_size else b""
    return {name: _view(data, entry, name, path) for name, entry in header.items()}


def _view(data: Any, entry: Mapping[str, Any], name: str, path: Path) -> np.ndarray:
    try:
        kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"'{path}' describes '{name}' wrongly: {entry!r}") from error
    if kind not in SAFETENSORS_DTYPES:
        raise WeightsError(f"'{name}' in '{path}' has type '{kind}', which this library lacks")
    dtype = SAFETENSORS_DTYPES[kind]
    if end > len(data):
        raise WeightsError(f"'{path}' is cut short: '{name}' ends at {end} of {len(data)} bytes")
    if begin < 0 or end - begin != math.prod(shape) * dtype.itemsize:
        raise WeightsError(f"'{name}' in '{path}' has {end - begin} bytes for {kind}{shape}")
    return np.frombuffer(data, dtype, count=math.prod(shape), offset=begin).reshape(shape)


def demo_folder(name: str) -> Path:
    """The folder of the built-in demo model `name`: "base", "clip" or "attributes"."""
    path = ASSETS / name
    if not (path / CONFIG_NAME).is_file():
        found = sorted(p.parent.name for p in ASSETS.glob(f"*/{CONFIG_NAME}"))
        raise WeightsError(f"no built-in model '{name}'; there is: {', '.join(found) or 'none'}")
    return path
