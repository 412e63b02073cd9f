"""One table says how a foreign file's tensors and our parameters correspond, in both directions.

A rule pairs a pattern of foreign names with a pattern of our paths:

    Rule("layers.{i}.mlp.fc1.weight", "text/transformer/blocks/mlp_up/kernel", LINEAR)

A placeholder in both patterns pairs tensors one by one. One that our path lacks is stacked: our
parameter holds all layers, with a leading axis. A rule with several of our paths splits a fused
tensor. Everything is planned from our parameters' shapes and compared with the file's before any
array is read, so that a file which does not fit is refused whole.
"""

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.types import DType
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.params import cast, flatten, release, unflatten

Shape = tuple[int, ...]
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_LISTED = 12
_RELEASED = 2**20  # bytes of a tensor from which what was read of the file is let go


class ConvertError(WeightsError):
    """Tensors that do not fit a layout; the message lists the names and the nearest expected."""


@dataclass(frozen=True)
class Axes:
    """How one tensor's axes lie elsewhere: those of length one are dropped, the rest transposed.

    `ones` are foreign axes of length one; `order[k]` is the axis, among those left, that becomes
    our axis k (empty: as they are).
    """

    order: tuple[int, ...] = ()
    ones: tuple[int, ...] = ()

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """The foreign array as ours (a view)."""
        array = np.squeeze(array, self.ones) if self.ones else array
        return array.transpose(self.order) if self.order else array

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Our array as theirs (a view)."""
        array = array.transpose(np.argsort(self.order)) if self.order else array
        return np.expand_dims(array, self.ones) if self.ones else array

    def shape(self, ours: Shape) -> Shape:
        """The foreign shape of one of our shapes."""
        return self.to_theirs(np.broadcast_to(np.int8(0), ours)).shape


SAME = Axes()
LINEAR = Axes((1, 0))  # [out, in]
CONV = Axes((2, 3, 1, 0))  # [out, in, height, width]
POINTWISE = Axes((1, 0), ones=(2, 3))  # 1x1 convolution; a matrix here
POINTWISE_1D = Axes((1, 0), ones=(2,))  # the same over sequences
ONE_FIRST = Axes(ones=(0,))  # [1, ...]; also [1] for a scalar of ours


@dataclass(frozen=True)
class Rule:
    """A correspondence; see the module's text.

    Attributes:
      theirs: pattern of foreign names; of several, any that a file has is read and the first is
        written.
      ours: pattern of our paths; several are the equal parts of one fused foreign tensor.
      axes: of each foreign tensor, after splitting.
      heads: of a fused tensor whose rows are ordered [head, part, row] (1: [part, row]).
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    axes: Axes = SAME
    heads: int = 1

    @cached_property
    def their_patterns(self) -> tuple[str, ...]:
        return (self.theirs,) if isinstance(self.theirs, str) else self.theirs

    @cached_property
    def our_patterns(self) -> tuple[str, ...]:
        return (self.ours,) if isinstance(self.ours, str) else self.ours


@dataclass(frozen=True)
class Table:
    """A foreign layout: its name in messages, its rules, and names that may be there but say
    nothing (patterns)."""

    name: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()


def affine(theirs: str, ours: str, axes: Axes = LINEAR) -> list[Rule]:
    """The rules of torch's linear layer or convolution."""
    return [
        Rule(f"{theirs}.weight", f"{ours}/kernel", axes),
        Rule(f"{theirs}.bias", f"{ours}/bias"),
    ]


def norm(theirs: str, ours: str) -> list[Rule]:
    """The rules of torch's layer and group norms."""
    return [Rule(f"{theirs}.weight", f"{ours}/scale"), Rule(f"{theirs}.bias", f"{ours}/bias")]


def batch_norm(theirs: str, ours: str) -> list[Rule]:
    """The rules of torch's batch norm; its counter is left to `Table.ignored`."""
    return [
        *norm(theirs, ours),
        Rule(f"{theirs}.running_mean", f"{ours}/mean"),
        Rule(f"{theirs}.running_var", f"{ours}/var"),
    ]


@dataclass(frozen=True)
class Place:
    """Where a foreign tensor is among our parameters: at `index` (of stacked axes) of `path`."""

    path: str
    index: tuple[int, ...]
    axes: Axes
    shape: Shape  # the foreign one


@runtime_checkable
class Change(Protocol):
    """What is added to the part of a parameter at `index`: an array like it, float32."""

    @property
    def index(self) -> tuple[int, ...]: ...

    def delta(self) -> np.ndarray: ...


Changes = Mapping[str, Sequence[Change]]  # by path


@dataclass(frozen=True)
class _Entry:
    """One foreign tensor: its names, its shape, and where its parts go in our arrays."""

    names: tuple[str, ...]
    shape: Shape
    rule: Rule
    paths: tuple[str, ...]
    index: tuple[int, ...]  # into the stacked axes of ours

    def part(self, array: np.ndarray, path: str) -> np.ndarray:
        """What of the foreign tensor is ours at `path` (a view, unless heads are interleaved)."""
        count, heads = len(self.paths), self.rule.heads
        if count > 1:
            split = array.reshape(heads, count, -1, *array.shape[1:])
            array = split[:, self.paths.index(path)].reshape(-1, *array.shape[1:])
        return self.rule.axes.to_ours(array)

    def fuse(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        theirs = [self.rule.axes.to_theirs(part) for part in parts]
        if len(theirs) == 1:
            return np.ascontiguousarray(theirs[0]).reshape(self.shape)
        per_head = [t.reshape(self.rule.heads, -1, *t.shape[1:]) for t in theirs]
        return np.ascontiguousarray(np.stack(per_head, axis=1).reshape(self.shape))


def import_params(
    table: Table,
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, Any],
    *,
    dtype: DType | None = np.float32,
    place: Callable[[str, np.ndarray], Any] | None = None,
    changes: Changes | None = None,
) -> dict[str, Any]:
    """Foreign tensors -> our nested parameters.

    Args:
      table: the layout.
      tensors: the file, read lazily: a tensor is looked at when a parameter it is part of is
        filled. One parameter at a time is copied to the host, so what is placed and that one are
        all the memory it takes.
      shapes: our parameters as arrays or `ShapeDtypeStruct`s (from `jax.eval_shape` of init).
      dtype: of floating-point parameters; None keeps the file's.
      place: (path, host array) -> what is kept of it, such as an array on devices.
      changes: what is added to parameters, in float32, before they are cast and placed.

    Raises `ConvertError`, before anything is converted, unless every tensor of the file is used
    exactly once and every parameter is filled exactly once, in matching shapes.
    """
    flat = {path: tuple(leaf.shape) for path, leaf in flatten(shapes).items()}
    entries = _plan(table, flat)
    found = _check(table, entries, tensors)
    sources: dict[str, list[tuple[_Entry, str]]] = {}
    for entry, name in zip(entries, found, strict=True):
        for path in entry.paths:
            sources.setdefault(path, []).append((entry, name))
    result: dict[str, Any] = {}
    # The largest first: while one is both here and placed, little else has been placed.
    for path in sorted(sources, key=lambda path: -math.prod(flat[path])):
        if changed := (changes or {}).get(path, ()):
            array = _gather(sources[path], tensors, path, flat[path], np.float32)
            for change in changed:
                array[change.index] += change.delta()
            array = cast(array, _kind(tensors[sources[path][0][1]], dtype))
        else:
            array = _gather(sources[path], tensors, path, flat[path], dtype)
        result[path] = array if place is None else place(path, array)
        del array
        # A transfer that is under way holds the host's array too.
        jax.block_until_ready(result[path])
    return unflatten(result)


def _gather(
    sources: Sequence[tuple[_Entry, str]],
    tensors: Mapping[str, np.ndarray],
    path: str,
    shape: Shape,
    dtype: DType | None,
) -> np.ndarray:
    """One parameter from the tensors it is in, each given with its entry."""
    array = np.empty(shape, _kind(tensors[sources[0][1]], dtype))
    for entry, name in sources:
        array[entry.index] = entry.part(tensors[name], path)
        if tensors[name].nbytes >= _RELEASED:
            release(tensors[name])
    return array


def _kind(tensor: np.ndarray, dtype: DType | None) -> np.dtype[Any]:
    """What a parameter becomes that is read from such a tensor."""
    return cast(np.empty(0, tensor.dtype), dtype).dtype


def places(table: Table, shapes: Mapping[str, Any]) -> dict[str, Place]:
    """Where each foreign tensor, under every name that it goes by, is among our parameters; but for
    those that are in several."""
    flat = {path: tuple(leaf.shape) for path, leaf in flatten(shapes).items()}
    return {
        name: Place(entry.paths[0], entry.index, entry.rule.axes, entry.shape)
        for entry in _plan(table, flat)
        if len(entry.paths) == 1
        for name in entry.names
    }


def export_params(table: Table, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Our nested parameters -> foreign tensors; the inverse of `import_params`, bit for bit."""
    flat = flatten(params)
    entries = _plan(table, {path: np.shape(leaf) for path, leaf in flat.items()})
    return {
        e.names[0]: e.fuse([np.asarray(np.asarray(flat[path])[e.index]) for path in e.paths])
        for e in entries
    }


def expected(table: Table, shapes: Mapping[str, Any]) -> dict[str, Shape]:
    """The foreign names and shapes that the table makes of our parameters' shapes."""
    flat = {path: tuple(leaf.shape) for path, leaf in flatten(shapes).items()}
    return {entry.names[0]: entry.shape for entry in _plan(table, flat)}


def _regex(pattern: str) -> re.Pattern[str]:
    """`a/{i}/b` -> a regex with a group i of digits; a name twice is a back-reference."""
    text, seen = "", set()
    for k, piece in enumerate(_PLACEHOLDER.split(pattern)):
        if k % 2 == 0:
            text += re.escape(piece)
        else:
            text += f"(?P={piece})" if piece in seen else rf"(?P<{piece}>\d+)"
            seen.add(piece)
    return re.compile(text)


def _names(pattern: str) -> set[str]:
    return set(_PLACEHOLDER.findall(pattern))


def _plan(table: Table, flat: Mapping[str, Shape]) -> list[_Entry]:
    """One entry per foreign tensor. Raises `ConvertError` for a parameter without a rule or with
    two: that is a defect of the table."""
    entries: list[_Entry] = []
    used: dict[str, int] = {}
    for rule in table.rules:
        first = _regex(rule.our_patterns[0])
        stacked = sorted(_names(rule.their_patterns[0]) - _names(rule.our_patterns[0]))
        exact = rule.our_patterns[0] if not _names(rule.our_patterns[0]) else None
        for path in flat if exact is None else [exact] if exact in flat else []:
            match = first.fullmatch(path)
            if match is None:
                continue
            values = match.groupdict()
            paths = tuple(p.format(**values) for p in rule.our_patterns)
            for p in paths:
                used[p] = used.get(p, 0) + 1
            depth = len(stacked)
            lengths, inner = flat[path][:depth], flat[path][depth:]
            for index in itertools.product(*map(range, lengths)):
                here = values | dict(zip(stacked, map(str, index), strict=True))
                names = tuple(p.format(**here) for p in rule.their_patterns)
                shape = _fused_shape(rule, inner)
                entries.append(_Entry(names, shape, rule, paths, index))
    missing = [path for path in flat if path not in used]
    twice = [path for path, count in used.items() if count > 1]
    absent = [path for path in used if path not in flat]
    if missing or twice or absent:
        raise ConvertError(
            f"the layout '{table.name}' does not describe this network:"
            + _listing("parameters without a rule", missing)
            + _listing("parameters with two rules", twice)
            + _listing("rules for parameters that do not exist", absent)
        )
    return entries


def _fused_shape(rule: Rule, inner: Shape) -> Shape:
    shape = rule.axes.shape(inner)
    parts = len(rule.our_patterns)
    return (shape[0] * parts, *shape[1:]) if parts > 1 else shape


def _check(table: Table, entries: Sequence[_Entry], tensors: Mapping[str, np.ndarray]) -> list[str]:
    """The name each entry goes by in the file; `ConvertError` with everything that is wrong."""
    found, missing, misshapen = [], [], []
    for entry in entries:
        name = next((n for n in entry.names if n in tensors), None)
        if name is None:
            missing.append(entry.names[0])
            continue
        shape = tuple(tensors[name].shape)
        if shape != entry.shape:
            misshapen.append(f"{name}: {shape}, expected {entry.shape}")
        found.append(name)
    ignored = [_regex(pattern) for pattern in table.ignored]
    left = set(tensors) - set(found)
    unknown = sorted(n for n in left if not any(p.fullmatch(n) for p in ignored))
    if missing or unknown or misshapen:
        raise ConvertError(
            f"the tensors do not fit the layout '{table.name}':"
            + _listing("missing", [name + nearest(name, unknown) for name in missing])
            + _listing("unknown", [name + nearest(name, missing) for name in unknown])
            + _listing("misshapen", misshapen)
        )
    return found


def _listing(title: str, items: Sequence[str]) -> str:
    if not items:
        return ""
    more = f"\n    ... and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    shown = "".join(f"\n    {item}" for item in items[:_LISTED])
    return f"\n  {title} ({len(items)}):{shown}{more}"
