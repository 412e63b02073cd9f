"""Reads torch's files, zip and legacy format, without torch and without executing anything in them.

What a pickle says is read by `torch_pickle`; arrays are views of the memory-mapped file.
"""

import io
import mmap
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.state_dicts import SeveralPartsError
from clipdiff_jax.weights.torch_pickle import Record, TensorRef, read_pickle

Tensors = dict[str, np.ndarray]

TORCH_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MAX_PICKLE = 2**28  # bytes; the pickle of a model holds names and shapes only
_MAX_DEPTH, _MAX_NODES = 64, 100_000


class TorchState(NamedTuple):
    """A state dict: its tensors, what of the asked `part` is no entry of the file but may be a
    prefix of the names, and whether it lay beside other things, with those that are numbers."""

    tensors: Tensors
    part: str | None
    nested: bool
    numbers: dict[str, int]


def read_torch(path: Path, part: str | None = None) -> TorchState:
    """Opens a state dict of torch's file, lazily.

    part: which of several state dicts it holds, such as "ema"; None where there is but one. A row
    of tensors is read under the names "0", "1", ...

    Raises `WeightsError` for a file that is damaged or incomplete, and for a pickle that holds
    anything but tensors.
    """
    if path.stat().st_size == 0:
        raise WeightsError(f"'{path}' is empty")
    try:
        if zipfile.is_zipfile(path):
            return _read_zip(path, part)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _read_legacy(path, data, part)
    except SeveralPartsError as error:
        raise SeveralPartsError(error.parts, path) from error
    except WeightsError as error:
        if str(path) in str(error):
            raise
        raise WeightsError(f"'{path}': {error}") from error


def read_number(path: Path, name: str) -> int | None:
    """A whole number beside the state dict of torch's file, such as "global_step".

    None where there is none, and for a file that is not torch's. Raises as `read_torch` does.
    """
    return read_torch(path).numbers.get(name) if path.suffix in TORCH_SUFFIXES else None


def _read_zip(path: Path, part: str | None) -> TorchState:
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        pickles = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(f"'{path}' is a zip file, but not torch's: it has no data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        read = {n: m for n, m in members.items() if n.startswith((pickles[0], f"{root}data/"))}
        packed = [n for n, m in read.items() if m.compress_type != zipfile.ZIP_STORED]
        if packed:
            raise WeightsError(f"'{packed[0]}' is compressed, which torch never does")
        if members[pickles[0]].file_size > _MAX_PICKLE:
            raise WeightsError(f"data.pkl has {members[pickles[0]].file_size} bytes")
        order = f"{root}byteorder"
        if order in members and archive.read(order) != b"little":
            raise WeightsError("written on a big-endian machine")
        try:
            tree = read_pickle(io.BytesIO(archive.read(pickles[0])))
        except zipfile.BadZipFile as error:
            raise WeightsError(f"damaged archive: {error}") from error
    whole = np.memmap(path, np.uint8, mode="r")

    def numbers(tensor: TensorRef) -> np.ndarray:
        storage = tensor.storage
        member = members.get(f"{root}data/{storage.key}")
        if member is None:
            raise WeightsError(f"the archive lacks the storage '{storage.key}'")
        header = bytes(whole[member.header_offset :][:30])
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise WeightsError(f"damaged archive at '{member.filename}'")
        begin = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        return _numbers(whole, begin, member.file_size, tensor)

    return _arrays(tree, part, numbers)


def _read_legacy(path: Path, data: mmap.mmap, part: str | None) -> TorchState:
    """Pickles in a row (magic, protocol, system, object, keys), then each key's count and numbers.

    The format before torch 1.6.
    """
    if read_pickle(data) != _LEGACY_MAGIC:
        raise WeightsError("no file of torch's: neither a zip archive nor its legacy format")
    protocol = read_pickle(data)
    if protocol != _LEGACY_PROTOCOL:
        raise WeightsError(f"legacy torch format {protocol}, expected {_LEGACY_PROTOCOL}")
    system = read_pickle(data)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise WeightsError("written on a big-endian machine")
    tree = read_pickle(data)
    keys = read_pickle(data)
    dtypes = {t.storage.key: t.storage.dtype for _, t in _walk(tree) if isinstance(t, TensorRef)}
    begins: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in dtypes:
            raise WeightsError(f"the storage '{key}' belongs to no tensor")
        (count,) = struct.unpack("<q", data.read(8).ljust(8, b"\xff"))
        size = count * dtypes[key].itemsize
        if count < 0 or data.tell() + size > len(data):
            raise WeightsError("cut short")
        begins[key] = (data.tell(), size)
        data.seek(size, io.SEEK_CUR)
    whole = np.memmap(path, np.uint8, mode="r")

    def numbers(tensor: TensorRef) -> np.ndarray:
        if tensor.storage.key not in begins:
            raise WeightsError(f"the file lacks the storage '{tensor.storage.key}'")
        begin, size = begins[tensor.storage.key]
        return _numbers(whole, begin, size, tensor)

    return _arrays(tree, part, numbers)


def _numbers(whole: np.ndarray, begin: int, size: int, tensor: TensorRef) -> np.ndarray:
    """The storage's numbers as a view of the mapped file."""
    dtype, count = tensor.storage.dtype, tensor.storage.count
    if begin + size > len(whole):
        raise WeightsError("cut short")
    if count < 0 or count * dtype.itemsize > size:
        raise WeightsError(f"a storage of {count} {dtype} numbers has {size} bytes")
    return np.frombuffer(whole, dtype, count, begin) if count else np.zeros(0, dtype)


def _arrays(tree: Any, part: str | None, numbers: Any) -> TorchState:
    """The tensors of the state dict in what a pickle built; names of nested modules are joined."""
    state, part, nested = _state_dict(tree, part)
    refs = {name: leaf for name, leaf in _walk(state) if isinstance(leaf, TensorRef)}
    beside = {str(k): v for k, v in _children(tree) if isinstance(v, int)}
    return TorchState(
        {name: ref.view(numbers(ref)) for name, ref in refs.items()}, part, nested, beside
    )


def _state_dict(tree: Any, part: str | None) -> tuple[Any, str | None, bool]:
    """The state dict that is meant, what of `part` is left to find in it, and whether the file
    holds it beside other things."""
    if isinstance(tree, Record):
        return tree, part, False
    candidates = {str(key): value for key, value in _children(tree) if _has_tensors(value)}
    if part is not None and part in candidates:
        return candidates[part], None, True
    if _has_tensors(tree) or (isinstance(tree, tuple | list) and _are_tensors(tree)):
        return tree, part, False
    if len(candidates) == 1:
        return next(iter(candidates.values())), part, True
    if part is not None:
        found = ", ".join(candidates) or "none"
        raise WeightsError(f"no state dict '{part}'; there is: {found}")
    raise SeveralPartsError(list(candidates))


def _has_tensors(tree: Any) -> bool:
    return isinstance(tree, dict) and any(isinstance(v, TensorRef) for v in tree.values())


def _are_tensors(row: Sequence[Any]) -> bool:
    return bool(row) and all(isinstance(one, TensorRef) for one in row)


def _children(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, Record):
        return list(tree.attributes.items())
    if isinstance(tree, dict):
        return list(tree.items())
    return list(enumerate(tree)) if isinstance(tree, (list, tuple)) else []


def _walk(tree: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) of a tree that may contain itself; bounded in depth and number."""
    pending, nodes = [("", tree, 0)], 0
    while pending:
        name, node, depth = pending.pop()
        nodes += 1
        if depth > _MAX_DEPTH or nodes > _MAX_NODES:
            raise WeightsError("the pickle's containers are nested without end")
        children = _children(node)
        if not children:
            yield name, node
        for key, child in reversed(children):
            pending.append((f"{name}.{key}" if name else str(key), child, depth + 1))
