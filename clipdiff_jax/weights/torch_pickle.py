"""Reads torch's pickles with a machine that can build tensors and containers, and nothing else.

A pickle is a program. This interpreter knows the two dozen instructions torch writes; the only
"functions" it can apply are the rebuilding of a tensor from a storage and of an ordered dictionary.
No global is ever imported, so there is nothing for a hostile file to call: any other name stops
the reading with an error that gives the name. A few names that training leaves beside the weights
(callbacks of Lightning, numbers of numpy) stand for themselves: what they are applied to is kept
as an inert `Record`.

A pickle may refer to what it has built before, so a small one can describe a tree without end.
Therefore nothing that it built is ever hashed, compared, printed or copied before its kind and its
length are known, and the work is bounded: by a number of instructions, and of items that are taken
over from one container into another.
"""

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from clipdiff_jax.weights.errors import WeightsError

_STORAGES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}
_TENSOR = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor")
_PARAMETER = "torch._utils _rebuild_parameter"
_DICTIONARY = "collections OrderedDict"
_SIZE = "torch Size"
_SCRIPT_CLASS = "__torch__."
_INERT = (
    "pytorch_lightning.callbacks.", "lightning.pytorch.callbacks.", "numpy dtype",
    "numpy.core.multiarray scalar", "numpy._core.multiarray scalar", "_codecs encode",
)  # fmt: skip
_MAX_DIMENSIONS = 32
_MAX_INSTRUCTIONS = 600_000  # those of 15,000 tensors
_MAX_COPIED = 1_000_000  # items
_SHOWN = 100  # characters of a name in a message


@dataclass(frozen=True)
class Global:
    """A name the pickle refers to; never looked up."""

    name: str


@dataclass
class Record:
    """An object of a TorchScript archive, or an inert one: attributes without any behaviour."""

    attributes: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StorageRef:
    """Where the pickle says a tensor's numbers are."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class TensorRef:
    """A tensor as the pickle describes it; `shape` and `stride` in elements of the storage."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, numbers: np.ndarray) -> np.ndarray:
        """The tensor as a read-only view of its storage's numbers [count]."""
        if 0 in self.shape:
            if math.prod(n for n in self.shape if n) * numbers.itemsize >= 2**62:
                raise WeightsError(f"a tensor of shape {self.shape} is impossible")
            return np.zeros(self.shape, numbers.dtype)
        pairs = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((n - 1) * step for n, step in pairs)
        if last >= len(numbers) or math.prod(self.shape) > len(numbers):
            raise WeightsError(
                f"a tensor of shape {self.shape} does not fit its storage of {len(numbers)} numbers"
            )
        # Where there is but one there is no step, however large the file says it to be.
        steps = [
            step * numbers.itemsize if n > 1 else 0
            for n, step in zip(self.shape, self.stride, strict=True)
        ]
        return np.lib.stride_tricks.as_strided(
            numbers[self.offset :], self.shape, steps, writeable=False
        )


_MARK = object()


def read_pickle(file: Any) -> Any:
    """Runs the pickle at the file's position -> dicts, lists, tuples, scalars and `TensorRef`s.

    Leaves the file behind the pickle. Raises `WeightsError` for a global that is not one of a
    tensor's, for an instruction torch does not write, and for a pickle that is damaged.
    """
    machine = _Machine()
    try:
        for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
            if opcode.name == "STOP":
                return machine.pop()
            if number >= _MAX_INSTRUCTIONS:
                raise WeightsError(f"the pickle has more than {_MAX_INSTRUCTIONS:,} instructions")
            machine.step(opcode.name, argument)
    except WeightsError:
        raise
    except (ValueError, LookupError, TypeError, EOFError, ArithmeticError, RecursionError) as error:
        raise WeightsError(f"damaged pickle: {str(error)[:_SHOWN]}") from error
    raise WeightsError("damaged pickle: it has no end")


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []  # where in the stack
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("unexpected mark")
        return value

    def mark(self) -> None:
        self.marks.append(len(self.stack))
        self.stack.append(_MARK)

    def drop(self) -> None:
        if self.stack.pop() is _MARK:
            self.marks.pop()

    def pop_to_mark(self) -> list[Any]:
        at = self.marks.pop()
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def count(self, items: int) -> None:
        """Items that are taken over from what may have been built once and is used often."""
        self.copied += items
        if self.copied > _MAX_COPIED:
            raise WeightsError("the pickle copies its containers without end")

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise WeightsError(f"the pickle holds the instruction {name}, which torch never writes")

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise TypeError("items set on something that is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            if isinstance(key, Global) and key.name.startswith(_INERT):
                key = key.name
            if not isinstance(key, (str, int)):  # hashing a deeply nested key can exhaust C's stack
                raise TypeError(f"a dictionary's key is a {type(key).__name__}")
            target[key] = value

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError("items appended to something that is no list")
        target.extend(items)

    def refer(self, name: str) -> None:
        module, _, attribute = name.rpartition(" ")
        allowed = (
            name in (*_TENSOR, _PARAMETER, _DICTIONARY, _SIZE)
            or (module == "torch" and attribute in _STORAGES)
            or name.startswith((_SCRIPT_CLASS, *_INERT))
        )
        if not allowed:
            raise WeightsError(
                f"the pickle refers to '{name.replace(' ', '.')[:_SHOWN]}'; only tensors are read "
                "from it"
            )
        self.stack.append(Global(name))

    def apply(self, arguments: Any, target: Any) -> None:
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            raise TypeError("something is called that is not a tensor's")
        if target.name in _TENSOR:
            storage, offset, shape, stride = arguments[:4]
            if not isinstance(storage, StorageRef):
                raise TypeError("a tensor without a storage")
            for name, numbers in (("offset", (offset,)), ("shape", shape), ("stride", stride)):
                _check_sizes(name, numbers)
            if len(shape) != len(stride):
                raise TypeError(f"a tensor's shape is {shape} and its stride {stride}")
            self.stack.append(TensorRef(storage, offset, shape, stride))
        elif target.name == _PARAMETER:
            self.stack.append(arguments[0])
        elif target.name == _DICTIONARY:
            self.stack.append({})
            for pairs in arguments:  # Python 2 passes the items here
                self.count(len(pairs))
                if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
                    raise TypeError("a dictionary is made of something else than pairs")
                self.set_items([item for pair in pairs for item in pair])
        elif target.name == _SIZE:
            (sizes,) = arguments
            _check_sizes("size", tuple(sizes[: _MAX_DIMENSIONS + 1]))
            self.stack.append(tuple(sizes))
        elif target.name.startswith((_SCRIPT_CLASS, *_INERT)):
            self.stack.append(Record())
        else:
            raise TypeError(f"'{target.name[:_SHOWN]}' is called")

    def build(self, given: Any) -> None:
        target = self.stack[-1]
        if isinstance(target, Record) and isinstance(given, dict):
            self.count(len(given))
            target.attributes.update(given)
        elif not isinstance(target, (dict, Record)):  # a state dict's `_metadata` is of no use
            raise TypeError("a state is set on something that has none")

    def storage(self, identity: Any) -> None:
        kind, storage, key, _, count = identity[:5]
        if not isinstance(kind, str) or kind != "storage" or not isinstance(storage, Global):
            raise TypeError("a reference to something that is no storage")
        dtype = _STORAGES.get(storage.name.removeprefix("torch "))
        if dtype is None or type(count) is not int or not 0 <= count < 2**62:
            raise TypeError(f"unknown storage '{storage.name[:_SHOWN]}'")
        if not isinstance(key, str):
            raise TypeError(f"the name of a storage is a {type(key).__name__}")
        self.stack.append(StorageRef(key, dtype, count))


def _check_sizes(name: str, numbers: Any) -> None:
    fits = isinstance(numbers, tuple) and len(numbers) <= _MAX_DIMENSIONS
    if not fits or not all(type(n) is int and 0 <= n < 2**62 for n in numbers):
        raise TypeError(f"a tensor's {name} is impossible")


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def build(machine: _Machine, _: Any) -> None:
        items = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return build


_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
_LITERALS = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
)  # fmt: skip
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda m, a: None,
    "FRAME": lambda m, a: None,
    "MARK": lambda m, a: m.mark(),
    "POP": lambda m, a: m.drop(),
    "BINPUT": lambda m, a: m.memo.__setitem__(a, m.stack[-1]),
    "LONG_BINPUT": lambda m, a: m.memo.__setitem__(a, m.stack[-1]),
    "MEMOIZE": lambda m, a: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    "BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "LONG_BINGET": lambda m, a: m.stack.append(m.memo[a]),
    "TUPLE": lambda m, a: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "SETITEM": lambda m, a: m.set_items([m.pop(), m.pop()][::-1]),
    "SETITEMS": lambda m, a: m.set_items(m.pop_to_mark()),
    "APPEND": lambda m, a: m.append([m.pop()]),
    "APPENDS": lambda m, a: m.append(m.pop_to_mark()),
    "GLOBAL": lambda m, a: m.refer(a),
    "STACK_GLOBAL": lambda m, a: m.refer(" ".join([m.pop(), m.pop()][::-1])),
    "REDUCE": lambda m, a: m.apply(m.pop(), m.pop()),
    "NEWOBJ": lambda m, a: m.apply(m.pop(), m.pop()),
    "BUILD": lambda m, a: m.build(m.pop()),
    "BINPERSID": lambda m, a: m.storage(m.pop()),
}
