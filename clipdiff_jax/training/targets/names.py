"""What a target is called: "h100:8", "v5e:2x4", "cpu:8", or several of them, "h100:8,v5e:2x4"."""

import math
import re
from dataclasses import dataclass

from clipdiff_jax.core.compilation import Platform
from clipdiff_jax.core.config import ConfigError, nearest
from clipdiff_jax.training.targets.chips import CHIPS, Chip

CPU = "cpu"
NAMES = (*CHIPS, CPU)
_AXES = {"v5e": 2, "v6e": 2, "v5p": 3}  # of the torus
MOST = 4096  # devices; a slice of v5p has 8960 chips, which takes XLA long


@dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      name: as it was asked for.
      chip: what one of them is; None for this machine's processor.
      shape: of the torus, or (how many,).
    """

    name: str
    chip: Chip | None
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    @property
    def platform(self) -> Platform:
        return "cpu" if self.chip is None else self.chip.platform


def read_targets(text: str) -> list[Target]:
    """The targets of a list with commas. Raises `ConfigError` for one that cannot be."""
    names = [name.strip() for name in text.split(",")]
    return [read_target(name) for name in dict.fromkeys(names) if name] or [read_target("")]


def read_target(text: str) -> Target:
    """One target. Raises `ConfigError`, with the nearest name, for one that cannot be."""
    name, _, size = text.partition(":")
    if name not in NAMES:
        raise ConfigError(
            f"no target '{text}': expected one of {', '.join(NAMES)}, and how many, such as h100:8 "
            f"or v5e:2x4.{nearest(name, NAMES)}"
        )
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})*", size or "1"):
        raise ConfigError(f"'{size}' of target '{text}' is no number of devices, such as 8 or 2x4")
    shape = tuple(int(part) for part in (size or "1").split("x"))
    if math.prod(shape) > MOST:
        raise ConfigError(
            f"target '{text}' has {math.prod(shape)} devices, expected at most {MOST}"
        )
    axes = _AXES.get(name, 1)
    if len(shape) == 1 and axes > 1:
        shape = _slice(shape[0], axes)
    if len(shape) != axes:
        wanted = "x".join("4" * axes)
        raise ConfigError(
            f"target '{text}' has {len(shape)} axes, expected {axes}: {name}:{wanted}"
        )
    return Target(text, CHIPS.get(name), shape)


def _slice(count: int, axes: int) -> tuple[int, ...]:
    """The most compact slice of so many chips: 8 -> 2x4 or 2x2x2."""
    if axes == 1:
        return (count,)
    side = round(count ** (1 / axes))
    first = next(n for n in range(side, 0, -1) if count % n == 0)
    rest = _slice(count // first, axes - 1)
    return tuple(sorted((first, *rest)))
