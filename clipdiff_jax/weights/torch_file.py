"""Reads torch's files, zip and legacy format, without torch and without executing anything in them.

What a pickle says is read by `torch_pickle`; arrays are views of the memory-mapped file.
"""

import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
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
_MAX_PICKLE = 2**27  # bytes; the pickle of a model holds names and shapes only
_MAX_ORDER = 16
_MAX_DIRECTORY = 2**24  # of an archive of 200,000 members
_MAX_END = 2**16 + 200  # bytes at the end of an archive in which its records lie
_MAX_DEPTH, _MAX_NODES = 64, 100_000
_MAX_NAME, _SHOWN = 1000, 100  # characters of a tensor's name, of a name in a message


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
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(f"'{path}' is a damaged archive: {error}") from error
    except (ValueError, LookupError, TypeError, struct.error) as error:
        raise WeightsError(f"'{path}' is damaged: {error}") from error


def read_number(path: Path, name: str) -> int | None:
    """A whole number beside the state dict of torch's file, such as "global_step".

    None where there is none, and for a file that is not torch's. Raises as `read_torch` does.
    """
    return read_torch(path).numbers.get(name) if path.suffix in TORCH_SUFFIXES else None


def _read_zip(path: Path, part: str | None) -> TorchState:
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:  # its directory alone; zipfile reads no member
        members = {member.filename: member for member in archive.infolist()}
    pickles = [n for n in members if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"'{path}' is a zip file, but not torch's: it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    whole = np.memmap(path, np.uint8, mode="r")
    order = members.get(f"{root}byteorder")
    if order is not None and _content(whole, order, _MAX_ORDER) != b"little":
        raise WeightsError("written on a big-endian machine")
    tree = read_pickle(io.BytesIO(_content(whole, members[pickles[0]], _MAX_PICKLE)))

    def numbers(tensor: TensorRef) -> np.ndarray:
        storage = tensor.storage
        member = members.get(f"{root}data/{storage.key}")
        if member is None:
            raise WeightsError(f"the archive lacks the storage '{storage.key[:_SHOWN]}'")
        begin, size = _place(whole, member)
        return _numbers(whole, begin, size, tensor)

    return _arrays(tree, part, numbers)


def _check_directory(path: Path) -> None:
    """Raises `WeightsError` for an archive with a list of members that no model has: each becomes
    an object many times its size."""
    with path.open("rb") as file:
        begin = max(path.stat().st_size - _MAX_END, 0)
        file.seek(begin)
        tail = file.read(_MAX_END)
    sizes = [(b"PK\x05\x06", 12, "<I"), (b"PK\x06\x06", 40, "<Q")]
    for mark, at, kind in sizes:
        found = tail.rfind(mark)
        number = tail[found + at : found + at + struct.calcsize(kind)]
        if found < 0 or len(number) < struct.calcsize(kind):
            continue
        (size,) = struct.unpack(kind, number)
        if size > _MAX_DIRECTORY and size != 0xFFFFFFFF:  # that is: see the other record
            raise WeightsError(f"damaged archive: its directory is said to have {size:,} bytes")


def _place(whole: np.ndarray, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a member's bytes begin in the file, and how many they are; they are stored as is."""
    name = member.filename[:_SHOWN]
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
        raise WeightsError(f"'{name}' is compressed, which torch never does")
    if member.flag_bits & 1:
        raise WeightsError(f"'{name}' is encrypted, which torch never does")
    header = bytes(whole[member.header_offset :][:30])
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise WeightsError(f"damaged archive at '{name}'")
    begin = member.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    if begin + member.file_size > len(whole):
        raise WeightsError(f"cut short in '{name}'")
    return begin, member.file_size


def _content(whole: np.ndarray, member: zipfile.ZipInfo, most: int) -> bytes:
    """A small member's bytes."""
    begin, size = _place(whole, member)
    if size > most:
        raise WeightsError(f"'{member.filename[:_SHOWN]}' has {size:,} bytes, expected {most:,}")
    content = whole[begin : begin + size].tobytes()
    if zlib.crc32(content) != member.CRC:
        raise WeightsError(f"damaged archive: '{member.filename[:_SHOWN]}' is not what was written")
    return content


def _read_legacy(path: Path, data: mmap.mmap, part: str | None) -> TorchState:
    """Pickles in a row (magic, protocol, system, object, keys), then each key's count and numbers.

    The format before torch 1.6.
    """
    if read_pickle(data) != _LEGACY_MAGIC:
        raise WeightsError("no file of torch's: neither a zip archive nor its legacy format")
    protocol = read_pickle(data)
    if protocol != _LEGACY_PROTOCOL:
        found = protocol if isinstance(protocol, int) else f"a {type(protocol).__name__}"
        raise WeightsError(f"legacy torch format {found}, expected {_LEGACY_PROTOCOL}")
    system = read_pickle(data)
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise WeightsError("written on a big-endian machine")
    tree = read_pickle(data)
    keys = read_pickle(data)
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise WeightsError("damaged: its storages are not named")
    dtypes = {t.storage.key: t.storage.dtype for _, t in _walk(tree) if isinstance(t, TensorRef)}
    begins: dict[str, tuple[int, int]] = {}
    for key in keys:
        if key not in dtypes:
            raise WeightsError(f"the storage '{key[:_SHOWN]}' belongs to no tensor")
        (count,) = struct.unpack("<q", data.read(8).ljust(8, b"\xff"))
        size = count * dtypes[key].itemsize
        if count < 0 or data.tell() + size > len(data):
            raise WeightsError("cut short")
        begins[key] = (data.tell(), size)
        data.seek(size, io.SEEK_CUR)
    whole = np.memmap(path, np.uint8, mode="r")

    def numbers(tensor: TensorRef) -> np.ndarray:
        if tensor.storage.key not in begins:
            raise WeightsError(f"the file lacks the storage '{tensor.storage.key[:_SHOWN]}'")
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
    known: dict[int, bool] = {}  # by identity: one dictionary may be there many times
    candidates = {}
    for key, value in _children(tree):
        if id(value) not in known:
            known[id(value)] = _has_tensors(value)
        if known[id(value)]:
            candidates[_name("", key)] = value
    if part is not None and part in candidates:
        return candidates[part], None, True
    if _has_tensors(tree) or (isinstance(tree, tuple | list) and _are_tensors(tree)):
        return tree, part, False
    if len(candidates) == 1:
        return next(iter(candidates.values())), part, True
    if part is not None:
        found = ", ".join(list(candidates)[:_SHOWN]) or "none"
        raise WeightsError(f"no state dict '{part}'; there is: {found}")
    raise SeveralPartsError(list(candidates))


def _has_tensors(tree: Any) -> bool:
    return isinstance(tree, dict) and any(isinstance(v, TensorRef) for v in tree.values())


def _are_tensors(row: Sequence[Any]) -> bool:
    return bool(row) and all(isinstance(one, TensorRef) for one in row)


def _children(tree: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(tree, Record):
        return tree.attributes.items()
    if isinstance(tree, dict):
        return tree.items()
    return enumerate(tree) if isinstance(tree, (list, tuple)) else ()


def _walk(tree: Any) -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) of a tree that may contain itself; bounded in depth and number."""
    if not isinstance(tree, (Record, dict, list, tuple)):
        yield "", tree
        return
    pending, nodes = [("", iter(_children(tree)))], 0
    while pending:
        prefix, children = pending[-1]
        one = next(children, None)
        if one is None:
            pending.pop()
            continue
        nodes += 1
        if len(pending) > _MAX_DEPTH or nodes > _MAX_NODES:
            raise WeightsError("the pickle's containers are nested without end")
        name, node = _name(prefix, one[0]), one[1]
        if isinstance(node, (Record, dict, list, tuple)):
            pending.append((name, iter(_children(node))))
        else:
            yield name, node


def _name(prefix: str, key: str | int) -> str:
    name = f"{prefix}.{key}" if prefix else str(key)
    if len(name) > _MAX_NAME:
        raise WeightsError(f"a name has more than {_MAX_NAME} characters: '{name[:_SHOWN]}...'")
    return name
