"""Mean and scatter of vectors that come in batches, in one pass.

The moments of two sets a and b are merged exactly, without the differences of large numbers that
sums of squares end in (Chan, Golub and LeVeque 1979, eq. 2.1): with D = m_b - m_a,

    m = m_a + (n_b / n) D,    M = M_a + M_b + (n_a n_b / n) D D^T
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float


class Moments(NamedTuple):
    """Of so many `examples` the mean and the scatter, the sum of (z - mean)(z - mean)^T."""

    examples: int
    mean: Float[np.ndarray, " d"]
    scatter: Float[np.ndarray, "d d"]


def update(moments: Moments | None, batch: Float[Array | np.ndarray, "b d"]) -> Moments:
    """The moments with another batch taken in, in float64.

    moments: None for the first batch. Raises `ValueError` for values that are not finite.
    """
    batch = np.asarray(batch, np.float64)
    if not np.isfinite(batch).all():
        raise ValueError(f"{int((~np.isfinite(batch)).sum())} values of embeddings are not finite")
    mean = batch.mean(axis=0)
    new = Moments(len(batch), mean, (batch - mean).T @ (batch - mean))
    if moments is None:
        return new
    count = moments.examples + new.examples
    shift = new.mean - moments.mean
    scatter = np.outer(shift, shift * (moments.examples * new.examples / count))
    scatter += moments.scatter  # in place: for wide vectors each of these is large
    scatter += new.scatter
    return Moments(count, moments.mean + shift * (new.examples / count), scatter)
