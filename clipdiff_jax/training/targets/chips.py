"""What the chips can do: one table, from their makers' data sheets.

Rates are dense. Matrix products of float32 arrays are computed the way XLA does by default: in TF32
on NVIDIA's chips, in one pass of bfloat16 on TPUs; "highest" is what `Precision.HIGHEST` gives.
"""

from dataclasses import dataclass
from typing import Literal

from clipdiff_jax.core.compilation import Platform

GIB = 2**30
Maker = Literal["cpu", "nvidia", "tpu"]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One device of a kind.

    Attributes:
      name: as a target names it, "h100". kind: how jax's `device_kind` begins.
      platform: what programs are traced for.
      memory: bytes that programs can have.
      half, single, highest: FLOP/s of matrix products of half precision, of float32 arrays by
        default, and of float32 in full.
      bandwidth: bytes/s of its memory.
      group: devices that a fast network joins (a server); None where all of a slice are joined.
      network: bytes/s that a device can send in a ring over the fast network.
      between: the same from one group to the next.
      said: where the numbers are from.
    """

    name: str
    kind: str
    platform: Platform
    memory: int
    half: float
    single: float
    highest: float
    bandwidth: float
    group: int | None
    network: float
    between: float
    said: str


_TORUS = "one axis of the torus, both directions"
CHIPS = {
    chip.name: chip
    for chip in (
        Chip(
            name="h100", kind="NVIDIA H100", platform="gpu", memory=84_929_347_584,
            half=989.4e12, single=494.7e12, highest=66.9e12, bandwidth=3.352e12,
            group=8, network=450e9, between=50e9,
            said="H100 SXM 80 GB; NVLink 4, and 400 Gb/s a device between servers",
        ),
        Chip(
            name="a100", kind="NVIDIA A100", platform="gpu", memory=85_094_432_768,
            half=312e12, single=156e12, highest=19.5e12, bandwidth=2.039e12,
            group=8, network=300e9, between=25e9,
            said="A100 SXM 80 GB; NVLink 3, and 200 Gb/s a device between servers",
        ),
        Chip(
            name="v5e", kind="TPU v5 lite", platform="tpu", memory=int(15.75 * GIB),
            half=197e12, single=197e12, highest=197e12 / 6, bandwidth=819e9,
            group=None, network=90e9, between=90e9, said=f"TPU v5e; {_TORUS}",
        ),
        Chip(
            name="v5p", kind="TPU v5", platform="tpu", memory=int(95.74 * GIB),
            half=459e12, single=459e12, highest=459e12 / 6, bandwidth=2.765e12,
            group=None, network=180e9, between=180e9, said=f"TPU v5p; {_TORUS}",
        ),
        Chip(
            name="v6e", kind="TPU v6 lite", platform="tpu", memory=int(31.25 * GIB),
            half=918e12, single=918e12, highest=918e12 / 6, bandwidth=1.64e12,
            group=None, network=180e9, between=180e9, said=f"TPU v6e; {_TORUS}",
        ),
    )
}  # fmt: skip
