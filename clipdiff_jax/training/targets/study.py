"""One traced program on one target: compiled, read, and held against the chip."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax

from clipdiff_jax.core.compilation import compiling_for
from clipdiff_jax.training.targets.compilers import compiler_options
from clipdiff_jax.training.targets.cost import Memory, Times, memory_of, times_of, used_of_exhausted
from clipdiff_jax.training.targets.flops import Flops, count_flops
from clipdiff_jax.training.targets.hlo import Program, read_program
from clipdiff_jax.training.targets.names import Target


@dataclass(frozen=True)
class Study:
    """What is known of a program on a target.

    Attributes:
      target: what it was compiled for.
      flops: that it asks for.
      memory: of a device; None where the compiler refused the program, which then needs `refused`
        bytes, or it does not say how many (0).
      program: what the compiler made of it, or None.
      times: the roofline, or None.
      seconds: that tracing and compiling took.
      text: XLA's text.
    """

    target: Target
    flops: Flops
    memory: Memory | None
    refused: int
    program: Program | None
    times: Times | None
    seconds: float
    text: str

    @property
    def needed(self) -> int:
        """Bytes on a device."""
        return self.refused if self.memory is None else self.memory.total


def study(
    target: Target, trace: Callable[[], jax.stages.Traced], arguments: Mapping[str, Any]
) -> Study:
    """Traces and compiles for a target.

    trace: makes the program; its arguments are shapes with shardings on the target's devices.
    arguments: those, by the kind under which they are named.
    """
    start = time.perf_counter()
    with compiling_for(target.platform):
        traced = trace()
        flops = count_flops(traced.jaxpr)
        options = compiler_options(target)
        try:
            compiled = traced.lower().compile(compiler_options=options)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            seconds = time.perf_counter() - start
            needed = used_of_exhausted(str(error)) or 0
            return Study(target, flops, None, needed, None, None, seconds, "")
    text = compiled.as_text()
    program = read_program(text, target.count)
    sizes = {name: device_bytes(tree) for name, tree in arguments.items()}
    memory = memory_of(compiled, sizes)
    seconds = time.perf_counter() - start
    return Study(target, flops, memory, 0, program, times_of(flops, program, target), seconds, text)


def device_bytes(tree: Any) -> int:
    """Bytes of a pytree of shapes on one device."""
    total = 0
    for leaf in jax.tree.leaves(tree):
        shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
        item = 8 if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf.dtype.itemsize
        total += math.prod(shape) * item
    return total
