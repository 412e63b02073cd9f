"""What the compiler made of a program: XLA's text of it, read into numbers.

The text is that of one device. Instructions are counted as often as they run: those in the body of
a loop its number of passes, which XLA writes beside it. Bytes are what an instruction reads and
writes in the device's memory, each operand once; of a slice it is the slice. What XLA keeps in a
TPU's own small memory (memory space 1) costs no bandwidth and is left out.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
    "ragged-all-to-all", "collective-broadcast",
)  # fmt: skip
_BITS = {
    "pred": 8, "s2": 2, "u2": 2, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16,
    "f16": 16, "bf16": 16, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64,
    "c64": 64, "c128": 128,
}  # fmt: skip
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "partition-id",
    "replica-id", "while", "conditional", "call", "opt-barrier", "iota", "domain",
    "add-dependency", "async-update",
}  # fmt: skip
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](\{[^{}]*\})?")
_OPCODE = re.compile(r"([a-z][\w\-]*)\(")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"\b(calls|to_apply|body|branch_computations|true_computation|"
                     r"false_computation)=(\{[^}]*\}|%?[\w.\-]+)")  # fmt: skip
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      bytes: of its result, as far as it is in the device's memory. size: of all of it.
      operands: their names. text: what follows the opcode's bracket.
      paired: whether the result has the operand beside it, as asynchronous collectives do.
    """

    name: str
    opcode: str
    bytes: int
    size: int
    operands: tuple[str, ...]
    text: str
    paired: bool

    @property
    def called(self) -> list[tuple[str, str]]:
        """(how, computation) of those that it runs."""
        return [
            (how, name)
            for how, names in _CALLED.findall(self.text)
            for name in _OPERAND.findall(names) or [names]
        ]


@dataclass
class Program:
    """What was read of a compiled program, of one run on one device.

    Attributes:
      bytes: read and written in memory.
      moved: by collective, (bytes of what it joins, devices that join in it) -> how often.
      counts: instructions outside of fusions by opcode, each counted once; fusions also by kind,
        "fusion loop", and calls by what they call, "custom-call __cublas$gemm".
      unknown_loops: loops whose number of passes XLA does not know; their bodies count once.
    """

    bytes: int = 0
    moved: dict[str, Counter[tuple[int, int]]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    unknown_loops: int = 0


def read_program(text: str, devices: int) -> Program:
    """Reads `compiled.as_text()`.

    devices: how many run it, for collectives of all.
    """
    computations, entry = _computations(text)
    program = Program()
    if entry is not None:
        _add(computations, entry, 1, devices, program)
    return program


def _computations(text: str) -> tuple[dict[str, dict[str, Instruction]], str | None]:
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = None, None
    for line in text.splitlines():
        if found := _COMPUTATION.match(line):
            current = computations.setdefault(found[2], {})
            entry = found[2] if found[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _INSTRUCTION.match(line)):
            one = _instruction(found[1], found[2])
            if one is not None:
                current[one.name] = one
    return computations, entry


def _instruction(name: str, rest: str) -> Instruction | None:
    """An instruction of the text after the equals sign: `shape opcode(operands), attributes`."""
    end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
    opcode = _OPCODE.match(rest[end:].lstrip())
    if opcode is None:
        return None
    shape, after = rest[:end], rest[end:].lstrip()
    close = _closing(after, opcode.end() - 1)
    operands = tuple(_OPERAND.findall(after[opcode.end() : close]))
    bytes_, size = _sizes(shape)
    paired = opcode[1].endswith("-start") and shape.startswith("(")
    return Instruction(name, opcode[1], bytes_, size, operands, after[opcode.end() :], paired)


def _closing(text: str, start: int) -> int:
    """The place after the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _sizes(shape: str) -> tuple[int, int]:
    """Bytes of an array, or of all arrays of a tuple: (those in the device's memory, all)."""
    outside, total = 0, 0
    for kind, dims, layout in _ARRAY.findall(shape):
        if kind in _BITS:
            size = math.prod(int(n) for n in dims.split(",") if n) * _BITS[kind] // 8
            total += size
            outside += 0 if "S(1)" in layout else size
    return outside, total


def _add(
    computations: dict[str, dict[str, Instruction]],
    name: str,
    times: int,
    devices: int,
    program: Program,
) -> None:
    """Counts a computation that runs `times` times."""
    inside = computations.get(name, {})
    for one in inside.values():
        program.counts[_what(one)] += 1
        kind = one.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            _move(one, kind, times, devices, program)
        if one.opcode.endswith("-done") or one.opcode in _FREE:
            pass
        elif one.opcode == "fusion":
            program.bytes += times * _fusion_bytes(one, inside, computations)
        elif kind not in COLLECTIVES:
            program.bytes += times * _plain_bytes(one, inside)
        passes = times
        if one.opcode == "while":
            trips = _TRIPS.search(one.text)
            program.unknown_loops += trips is None
            passes *= int(trips[1]) if trips else 1
        for how, called in one.called:
            if one.opcode == "fusion":
                for inner in _collectives_of(called, computations):
                    _move(inner, inner.opcode.removesuffix("-start"), times, devices, program)
            elif how != "to_apply" or one.opcode == "call":
                _add(computations, called, passes, devices, program)


def _what(one: Instruction) -> str:
    if one.opcode == "fusion" and (kind := re.search(r"kind=k(\w+)", one.text)):
        return f"fusion {kind[1].lower()}"
    if one.opcode == "custom-call" and (to := re.search(r'custom_call_target="([^"]*)"', one.text)):
        return f"custom-call {to[1]}"
    return one.opcode


def _collectives_of(
    name: str, computations: dict[str, dict[str, Instruction]]
) -> Iterator[Instruction]:
    for one in computations.get(name, {}).values():
        if one.opcode.removesuffix("-start") in COLLECTIVES:
            yield one


def _move(one: Instruction, kind: str, times: int, devices: int, program: Program) -> None:
    """A collective, by the bytes of the whole that it joins."""
    size, group = one.size, _group(one.text, devices)
    joined = kind in ("all-gather", "reduce-scatter")
    if one.paired and kind != "all-reduce":  # the part beside the whole, or two alike
        size = size * group // (group + 1) if joined else size // 2
    elif kind == "reduce-scatter":
        size *= group
    program.moved.setdefault(kind, Counter())[size, group] += times


def _group(text: str, devices: int) -> int:
    """How many devices join in a collective, from `replica_groups`."""
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", text):
        return found[1].count(",") + 1
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", text):
        return int(found[1])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}", text):
        sizes = dict(re.findall(r"'([\w]+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
    return devices


def _plain_bytes(one: Instruction, inside: dict[str, Instruction]) -> int:
    """Of an instruction that stands alone."""
    sizes = [inside[name].bytes for name in one.operands if name in inside]
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * one.bytes
    if one.opcode in ("dynamic-update-slice", "scatter") and len(sizes) > 1:
        return 2 * min(sizes[1], one.bytes)
    return one.bytes + sum(sizes)


def _fusion_bytes(
    one: Instruction,
    inside: dict[str, Instruction],
    computations: dict[str, dict[str, Instruction]],
) -> int:
    """Of a fusion: its operands, of which it may read a slice only, and what it writes."""
    body = next((computations.get(name, {}) for _, name in one.called), {})
    users: dict[str, list[Instruction]] = {}
    for inner in body.values():
        for name in inner.operands:
            users.setdefault(name, []).append(inner)
    total, updated = 0, 0
    parameters = [inner for inner in body.values() if inner.opcode == "parameter"]
    order = {int(n[1]): p for p in parameters if (n := re.match(r"(\d+)", p.text))}
    for index, name in enumerate(one.operands):
        if name not in inside:
            continue
        size, parameter = inside[name].bytes, order.get(index)
        uses = users.get(parameter.name, []) if parameter else []
        if size and uses and all(use.opcode in ("dynamic-slice", "slice") for use in uses):
            size = min(size, sum(use.bytes for use in uses))
        elif parameter and size and uses and all(_updates(use, parameter) for use in uses):
            updated += size  # written in place: neither read nor written as a whole
            size = sum(body[use.operands[1]].bytes for use in uses if use.operands[1] in body)
        total += size
    return total + max(one.bytes - updated, 0)


def _updates(use: Instruction, parameter: Instruction) -> bool:
    return use.opcode == "dynamic-update-slice" and use.operands[0] == parameter.name
