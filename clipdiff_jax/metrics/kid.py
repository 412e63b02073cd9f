"""The kernel Inception distance (Bińkowski et al. 2018, arXiv 1801.01401, section 4).

The squared maximum mean discrepancy with the kernel of degree three

    k(x, y) = (x . y / d + 1)^3                                                                (1)

by its unbiased estimate (Gretton et al. 2012, Journal of Machine Learning Research 13, eq. 3), of m
pictures x of one set and m pictures y of the other

    sum_{i != j} (k(x_i, x_j) + k(y_i, y_j)) / (m (m - 1)) - 2 sum_{i, j} k(x_i, y_j) / m^2.   (2)

Sets of more than a thousand are estimated by the mean over random subsets, as the paper does. It
is unbiased for any number of pictures, so it may be negative for equal sets.
"""

import numpy as np
from jaxtyping import Float

from clipdiff_jax.metrics.features import check_features
from clipdiff_jax.metrics.uncertainty import Measured


def kid(
    generated: Float[np.ndarray, "n d"],
    reference: Float[np.ndarray, "m e"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> Measured:
    """The mean of eq. 2 over random subsets, and its standard error.

    Subsets have min(subset_size, n, m) pictures. Their spread is that of h of N pictures without
    replacement, whose variance is (N - h) / h times that of all N (see `halves`), N the smaller
    number; where subsets are more than half of it, subsets of half of it are drawn for this.
    With fewer than four pictures the uncertainty is NaN.

    Raises `ValueError` for a single picture and for features of different lengths.
    """
    count = min(len(generated), len(reference))
    if count < 2:
        raise ValueError(
            f"KID needs two pictures or more of each kind, got {len(generated)} and "
            f"{len(reference)}"
        )
    check_features(generated, reference)
    rng = np.random.default_rng(seed)

    def draw(size: int) -> float:
        x = generated[rng.permutation(len(generated))[:size]]
        y = reference[rng.permutation(len(reference))[:size]]
        return squared_mmd(x, y)

    size = min(subset_size, count)
    whole = size == len(generated) == len(reference)  # then all subsets are the same
    values = [draw(size) for _ in range(1 if whole else subsets)]
    half = min(size, count // 2)
    if half < 2:
        return Measured(float(np.mean(values)), float("nan"))
    spread = values if half == size else [draw(half) for _ in range(subsets)]
    error = float(np.std(spread) * np.sqrt(half / (count - half)))
    return Measured(float(np.mean(values)), error)


def squared_mmd(x: Float[np.ndarray, "m d"], y: Float[np.ndarray, "m d"]) -> float:
    """Eq. 2, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    count = len(x)
    within = sum(_off_diagonal(_kernel(one, one)) for one in (x, y)) / (count * (count - 1))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _off_diagonal(kernel: np.ndarray) -> float:
    return float(kernel.sum() - np.trace(kernel))
