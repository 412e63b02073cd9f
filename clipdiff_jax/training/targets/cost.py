"""A program held against its chip: what it takes of the memory, and how long it takes at least.

The time is a roofline (Williams et al. 2009): the matrix units at their full rate, the memory at
its full bandwidth and the network at its own each take so long. The longest of them is the least
that a run can take; all of them one after another is what it takes where nothing overlaps.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clipdiff_jax.training.targets.chips import Chip
from clipdiff_jax.training.targets.flops import Flops
from clipdiff_jax.training.targets.hlo import Program
from clipdiff_jax.training.targets.names import Target

# Bytes that a device sends around a ring of g, as a share of the whole that is joined.
_SENT = {"all-reduce": lambda g: 2 * (g - 1) / g}
_ONCE = ("collective-permute", "collective-broadcast")


@dataclass(frozen=True)
class Memory:
    """Bytes that one device needs.

    Attributes:
      arguments: by kind, such as "parameters" or "optimiser".
      outputs: those that do not take the place of an argument.
      temporaries: what the program needs beside them, and itself.
    """

    arguments: Mapping[str, int]
    outputs: int
    temporaries: int

    @property
    def total(self) -> int:
        return sum(self.arguments.values()) + self.outputs + self.temporaries


@dataclass(frozen=True)
class Times:
    """Seconds that each part of a chip is busy with one run."""

    matrix: float
    memory: float
    network: float

    @property
    def least(self) -> float:
        return max(self.matrix, self.memory, self.network)

    @property
    def most(self) -> float:
        """Where nothing overlaps."""
        return self.matrix + self.memory + self.network

    @property
    def longest(self) -> str:
        names = {"matrix units": self.matrix, "memory": self.memory, "network": self.network}
        return max(names, key=lambda name: names[name])


def memory_of(compiled: Any, arguments: Mapping[str, int]) -> Memory:
    """What XLA planned. `arguments` are bytes on a device, by kind."""
    stats = compiled.memory_analysis()
    return Memory(
        arguments,
        stats.output_size_in_bytes - stats.alias_size_in_bytes,
        stats.temp_size_in_bytes + stats.generated_code_size_in_bytes,
    )


def times_of(flops: Flops, program: Program, target: Target) -> Times | None:
    """The roofline of one run; None for a processor, of which nothing is known."""
    chip = target.chip
    if chip is None:
        return None
    rates = {"half": chip.half, "single": chip.single, "highest": chip.highest}
    matrix = sum(n / rates[kind] for kind, n in flops.by_kind.items()) / target.count
    network = sum(
        count * sent_bytes(kind, size, group) / _rate(chip, group, target.count)
        for kind, sizes in program.moved.items()
        for (size, group), count in sizes.items()
    )
    return Times(matrix, program.bytes / chip.bandwidth, network)


def sent_bytes(kind: str, size: int, group: int) -> float:
    """What a device sends for a collective of `size` bytes among `group` devices, in a ring."""
    if kind in _ONCE:
        return float(size)
    return size * _SENT.get(kind, lambda g: (g - 1) / g)(group)


def _rate(chip: Chip, group: int, count: int) -> float:
    """Devices of one server are neighbours in the mesh, so small groups stay inside of one."""
    if chip.group is None or group <= chip.group or count <= chip.group:
        return chip.network
    return chip.between


def used_of_exhausted(message: str) -> int | None:
    """Bytes that a program needs, from the message with which XLA:TPU refuses it."""
    found = re.search(r"[Uu]sed ([\d.]+)([KMGT]) of ([\d.]+)([KMGT])", message)
    if found is None:
        return None
    return int(float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30, "T": 40}[found[2]])
