"""Repeated halves: the standard error of a number that compares two sets.

A random half of each set gives the number again. Over many draws of n / 2 out of n without
replacement its spread estimates the standard error of what all n give (Politis, Romano and Wolf
1999, Subsampling, chapter 2): the variance of one half is that of n / 2 independent pictures less
the part that the n drawn from have in common,

    s^2 (2 / n - 1 / n) = s^2 / n.                                                            (1)

The bootstrap is no choice here: it repeats pictures, and repeated pictures are at distance zero,
which nearest neighbours and covariances of few pictures count as agreement. A number that is biased
for few pictures (FID) is equally so for every half, which the spread does not see.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool

FEWEST = 4  # pictures in a set, so that halves have two


def halves(count: int, rounds: int, seed: int) -> Iterator[Bool[np.ndarray, " count"]]:
    """Masks that choose half of `count` pictures at random (one less than the rest if odd)."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        chosen = np.zeros(count, bool)
        chosen[rng.permutation(count)[: count // 2]] = True
        yield chosen


def repeated_halves(
    counts: tuple[int, int],
    statistic: Callable[[np.ndarray, np.ndarray], float],
    *,
    rounds: int,
    seed: int,
) -> float:
    """The standard error of `statistic` by eq. 1; NaN where a set has fewer than four pictures.

    counts: pictures in the two sets. statistic: (mask of the first, mask of the second) -> number.
    """
    if min(counts) < FEWEST or rounds < 2:
        return float("nan")
    first, second = halves(counts[0], rounds, seed), halves(counts[1], rounds, seed + 1)
    return float(np.std([statistic(a, b) for a, b in zip(first, second, strict=True)]))
