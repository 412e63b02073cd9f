"""What a study says, in lines that a person reads."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from clipdiff_jax.core.request import Number
from clipdiff_jax.training.targets.cost import sent_bytes
from clipdiff_jax.training.targets.hlo import Program
from clipdiff_jax.training.targets.study import Study

LEFT_OUT = (
    "left out: what is no matrix product beyond its memory traffic, time to start kernels, rates "
    "below those of the data sheet (half to three quarters of them is usual), reading data"
)
_SHARE = 0.75  # of a GPU's memory that jax takes unless told otherwise


def lines_of(study: Study, unit: str, advice: Sequence[str] = ()) -> list[str]:
    """FLOPs, memory, collectives and times of one `unit`, such as a step.

    advice: what to set where it does not fit.
    """
    return [
        _flops(study, unit),
        *_memory(study, advice),
        *([] if study.program is None else _collectives(study.program, unit)),
        *_times(study, unit),
        f"compiled in     {study.seconds:.0f} s",
    ]


def numbers_of(study: Study) -> dict[str, Any]:
    """The same as JSON has it; seconds and bytes."""
    times, program, memory = study.times, study.program, study.memory
    chip = study.target.chip
    moved = {} if program is None else program.moved
    return {
        "target": study.target.name,
        "flops": study.flops.total,
        "needed": study.needed,
        "there": None if chip is None else chip.memory,
        "fits": fits(study, None if chip is None else chip.memory),
        "memory": None if memory is None else dataclasses.asdict(memory),
        "bytes": None if program is None else program.bytes,
        "collectives": {kind: sum(sizes.values()) for kind, sizes in moved.items()},
        "counts": None if program is None else dict(program.counts.most_common()),
        "times": None if times is None else dataclasses.asdict(times),
        "compiled_in": round(study.seconds, 1),
    }


def fits(study: Study, have: int | None) -> str:
    """One line: whether a device has the memory; "" where it is not known what it has."""
    if study.memory is None:
        needed = f"{gigabytes(study.refused)} needed" if study.refused else "the compiler gave up"
        return f"does not fit: {needed}, {gigabytes(have or 0)} there"
    if have is None:
        return ""
    spare = have - study.needed
    if spare < 0:
        return f"does not fit: {gigabytes(study.needed)} needed, {gigabytes(have)} there"
    return f"fits in {gigabytes(have)} with {gigabytes(spare)} to spare"


def gigabytes(size: Number) -> str:
    """Bytes as people write them: "7.31 GB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return (
                f"{size / scale:.3g} {unit}"
                if size < 1000 * scale
                else f"{size / scale:,.0f} {unit}"
            )
    return f"{size:.0f} B"


def duration(seconds: Number) -> str:
    """Seconds as people write them: "41 ms", "3.2 h", "12 days"."""
    for unit, scale in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= (2 if unit == "days" else 1) * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _flops(study: Study, unit: str) -> str:
    flops = study.flops
    named = {"half": "half precision", "single": "float32", "highest": "float32 in full"}
    shares = [
        f"{count / flops.total:.0%} in {named[kind]}"
        for kind, count in flops.by_kind.most_common()
        if count
    ]
    line = f"FLOPs           {flops.total:.3g} a {unit}, all devices, each loop as often as it runs"
    line += f" ({', '.join(shares)})" if shares else ""
    if flops.unknown_loops:
        line += f"; {flops.unknown_loops} loops run as often as the data says and count once"
    return line


def _memory(study: Study, advice: Sequence[str]) -> Iterator[str]:
    chip = study.target.chip
    have = None if chip is None else chip.memory
    yield "memory of a device:"
    if study.memory is not None:
        kinds = {**study.memory.arguments, "outputs": study.memory.outputs}
        kinds["temporaries"] = study.memory.temporaries
        for name, size in kinds.items():
            if size:
                yield f"  {name:<13} {gigabytes(size):>9}"
        yield f"  {'all':<13} {gigabytes(study.needed):>9}"
    said = fits(study, have)
    if not said:
        yield "  what this machine has is shared by all of them and its other programs"
        return
    if said.startswith("does not"):
        said += f"; try {' or '.join(advice)}" if advice else ""
    elif chip is not None and chip.platform == "gpu" and study.needed > _SHARE * chip.memory:
        said += "; jax takes three quarters unless XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 is set"
    yield f"  {said}"


def _collectives(program: Program, unit: str) -> Iterator[str]:
    if not program.moved:
        yield f"collectives     none in a {unit}"
        return
    yield f"collectives, a {unit}:"
    for kind, sizes in sorted(program.moved.items()):
        times = sum(sizes.values())
        joined = sum(size * count for (size, _), count in sizes.items())
        sent = sum(sent_bytes(kind, size, g) * count for (size, g), count in sizes.items())
        yield (
            f"  {kind:<18} {times:>6,} of {gigabytes(joined)} in all; "
            f"each device sends {gigabytes(sent)}"
        )


def _times(study: Study, unit: str) -> Iterator[str]:
    times, chip, program = study.times, study.target.chip, study.program
    if times is None or chip is None or program is None:
        if study.memory is not None:
            yield "time            no roofline of a processor: its rates are not known"
        return
    yield f"roofline, a {unit} ({chip.said}):"
    rate = f"{chip.half / 1e12:.0f} TFLOP/s in half precision, {chip.single / 1e12:.0f} in float32"
    yield f"  {'matrix units':<13} {duration(times.matrix):>9}   {rate}"
    yield (
        f"  {'memory':<13} {duration(times.memory):>9}   {gigabytes(program.bytes)} at "
        f"{gigabytes(chip.bandwidth)}/s"
    )
    if program.moved:
        rate = f"at {gigabytes(chip.network)}/s a device"
        yield f"  {'network':<13} {duration(times.network):>9}   {rate}"
    apart = f"{duration(times.most)} where nothing overlaps"
    yield f"  at least {duration(times.least)} ({times.longest}), {apart}"
    yield f"  {LEFT_OUT}"
    if program.unknown_loops:
        yield f"  {program.unknown_loops} loops run as often as the data says and count once"
