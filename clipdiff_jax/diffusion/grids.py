"""Grids: which times a sampler visits.

A grid is an int32 array of descending times that ends at -1, the clean image, so its S + 1 entries
ask for S evaluations of the network.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int

Steps = int | np.integer | Sequence[int] | Literal["glide"]
Spacing = Literal["trailing", "leading", "linspace"]


def ddim_grid(t0: int, steps: int) -> Int[np.ndarray, " steps_plus_1"]:
    """DiffusionCLIP's grid for generation: `steps` truncated, evenly spread times t0 .. 0, then -1.

    Raises ValueError where two of the times would coincide.
    """
    if steps < 2:
        raise ValueError(f"a grid from t0 to 0 needs at least 2 steps, got {steps}")
    if t0 < steps - 1:
        raise ValueError(f"{steps} distinct times need t0 >= {steps - 1}, got t0={t0}")
    rising = [int(s) for s in np.linspace(0, 1, steps) * t0]
    return np.array([*reversed(rising), -1], np.int32)


def even_grid(
    num_steps: int, steps: int, spacing: Spacing = "trailing"
) -> Int[np.ndarray, " steps_plus_1"]:
    """`steps` of a schedule's `num_steps` times, descending, then -1.

    trailing: starts at the noisiest time, round(T, T - T/S, ...) - 1 (Lin et al. 2023, arXiv
        2305.08891, table 2: the one that fits few steps). leading: multiples of T // S, ends at
        0. linspace: rounded linspace(0, T - 1), has both ends; a single step has the noisiest.
    """
    if not 1 <= steps <= num_steps:
        raise ValueError(f"steps must be between 1 and {num_steps}, got {steps}")
    if spacing == "trailing":
        times = np.round(np.arange(num_steps, 0, -num_steps / steps)[:steps]) - 1
    elif spacing == "leading":
        times = np.arange(steps)[::-1] * (num_steps // steps)
    elif spacing == "linspace":
        # The order of operations, which decides ties, is that of diffusers' `UnCLIPScheduler`.
        stride = (num_steps - 1) / max(steps - 1, 1)
        times = (
            np.round(np.arange(steps) * stride)[::-1] if steps > 1 else np.array([num_steps - 1])
        )
    else:
        raise ValueError(f"spacing must be 'trailing', 'leading' or 'linspace', got {spacing!r}")
    return np.array([*times.astype(np.int64), -1], np.int32)


def step_grid(
    num_steps: int, steps: Steps, spacing: Spacing = "linspace"
) -> Int[np.ndarray, " steps_plus_1"]:
    """The grid that `steps` asks for: so many evenly spread times (`even_grid`, by `spacing`),
    so many in each of equal sections (`section_grid`), or "glide" (`glide_grid`).

    Raises `ValueError` for another name and for what those grids refuse.
    """
    if _is_count(steps):
        return even_grid(num_steps, int(steps), spacing)  # type: ignore[arg-type]
    several = isinstance(steps, (list, tuple, np.ndarray)) and np.ndim(steps) == 1
    if several and len(steps) and all(map(_is_count, steps)):  # type: ignore[arg-type]
        return section_grid(num_steps, [int(count) for count in steps])  # type: ignore[union-attr]
    if not isinstance(steps, str) or steps != "glide":
        raise ValueError(
            "steps must be a number, numbers for the sections of the schedule, or 'glide', got "
            f"{steps!r}"
        )
    return glide_grid(num_steps)


def _is_count(value: object) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def section_grid(num_steps: int, counts: Sequence[int]) -> Int[np.ndarray, " steps_plus_1"]:
    """sum(counts) times: counts[i] of them spread over the i-th of equal sections, then -1.

    counts: of each section of the schedule's `num_steps` times, that of the least noise first. The
        times of a section include both of its ends (one alone is its first); where `num_steps` does
        not divide, the first sections are one longer.

    Raises `ValueError` for a section with more times than it is long, or none.
    """
    times: list[int] = []
    for section, count in zip(
        np.array_split(np.arange(num_steps), len(counts)), counts, strict=True
    ):
        if not 1 <= count <= len(section):
            raise ValueError(
                f"a section of {len(section)} times can have 1 to {len(section)} steps, got "
                f"{count} in {tuple(counts)}"
            )
        times += [section[int(i)] for i in np.round(np.linspace(0, len(section) - 1, count))]
    return np.array([*reversed(times), -1], np.int32)


def glide_grid(num_steps: int = 1000) -> Int[np.ndarray, "28"]:
    """GLIDE's 27 steps for upsamplers: 10, 10, 3, 2, 2 over five sections (arXiv 2112.10741).

    As in the release of Nichol et al. the walk starts two times short of the noisiest one, at
    which DDIM is at its worst.
    """
    grid = section_grid(num_steps, (10, 10, 3, 2, 2))
    grid[0] = num_steps - 3
    return grid
