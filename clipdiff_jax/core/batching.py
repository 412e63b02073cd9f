"""Batches of one size: the last is filled up with its last item, and results are cut to the count.

A program is compiled for one shape. A batch that is short would compile it again, for a single use;
items that repeat cost less.

    for batch, count in filled_batches(images, 16):
        parts.append(np.asarray(embed(batch))[:count])
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

import jax
import numpy as np
from jaxtyping import Key, Shaped

Rows = Shaped[np.ndarray, "n ..."]
DeviceRows = Shaped[jax.Array, "n ..."] | Key[jax.Array, "n ..."]
T = TypeVar("T")
logger = logging.getLogger(__name__)


@overload
def filled(items: np.ndarray, size: int) -> np.ndarray: ...
@overload
def filled(items: jax.Array, size: int) -> jax.Array: ...
@overload
def filled(items: Sequence[T], size: int) -> list[T]: ...


def filled(items: Rows | DeviceRows | Sequence[T], size: int) -> Any:
    """`size` items: those given, and the last of them as often as are missing.

    items: an array [N, ...] of rows, typed keys included, or a sequence, which becomes a list.
    Raises `ValueError` where there are none, or more than `size`.
    """
    count = len(items)
    if not 0 < count <= size:
        raise ValueError(f"{count} items, expected 1 to {size} for a batch of {size}")
    if isinstance(items, (np.ndarray, jax.Array)):
        return items if count == size else items[np.arange(size).clip(max=count - 1)]
    return [*items, *[items[-1]] * (size - count)]


@overload
def filled_batches(items: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]: ...
@overload
def filled_batches(items: jax.Array, size: int) -> Iterator[tuple[jax.Array, int]]: ...
@overload
def filled_batches(items: Sequence[T], size: int) -> Iterator[tuple[list[T], int]]: ...


def filled_batches(items: Rows | DeviceRows | Sequence[T], size: int) -> Iterator[tuple[Any, int]]:
    """Yields (batch, count): `size` items in order, the first `count` of which are new.

    Only in the last batch is `count` less than `size`. No items give no batches. Raises
    `ValueError` for a size below 1.
    """
    if size < 1:
        raise ValueError(f"the batch size is {size}, expected at least 1")
    return (
        (filled(part, size), len(part))
        for part in (items[start : start + size] for start in range(0, len(items), size))
    )


def for_devices(batch_size: int, devices: int, parts: int = 1) -> int:
    """The batch, or the next larger one of which every device gets as much in each of `parts`.

    Says so where it is larger.
    """
    share = devices * parts
    rounded = -(-batch_size // share) * share
    if rounded != batch_size:
        logger.warning(
            "a batch of %d is rounded up to %d, for %d devices to have equal shares",
            batch_size, rounded, devices,
        )  # fmt: skip
    return rounded


def batch_count(items: int, size: int) -> int:
    """How many batches `filled_batches` makes."""
    return -(-items // size)
