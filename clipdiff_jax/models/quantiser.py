"""Numbers to buckets and back: what turns an embedding into a sequence of codes.

Two kinds. Buckets of *equal width* w = (high - low) / n between two bounds for each dimension,

    code = floor((x - low) / w), within 0 .. n - 1       x' = low + (code + 1/2) w           (1)

so |x - x'| <= w / 2 between the bounds. And buckets of *equal mass*, whose edges are quantiles of
data: there the upper half of the codes is the upper half of the distribution.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


def symmetric_range(
    variances: Float[np.ndarray, " k"], deviations: float
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Bounds (low, high) of `deviations` standard deviations on both sides of zero.

    A dimension without variance gets a range that is narrow but not empty.
    """
    if not deviations > 0:
        raise ValueError(f"a range of {deviations} standard deviations; expected more than 0")
    half = deviations * np.sqrt(np.asarray(variances, np.float64))
    half = np.maximum(half, max(1e-6 * float(np.max(half)), 1e-12)).astype(np.float32)
    return -half, half


def to_codes(
    x: Float[Array, "*b k"],
    low: Float[Array | np.ndarray, " k"],
    high: Float[Array | np.ndarray, " k"],
    buckets: int,
) -> Int[Array, "*b k"]:
    """The bucket of equal width that each number is in, eq. 1; what is beyond goes to the end."""
    position = jnp.floor((x - low) / (jnp.asarray(high) - low) * buckets)
    return jnp.clip(position, 0, buckets - 1).astype(jnp.int32)


def from_codes(
    codes: Int[Array, "*b k"],
    low: Float[Array | np.ndarray, " k"],
    high: Float[Array | np.ndarray, " k"],
    buckets: int,
) -> Float[Array, "*b k"]:
    """The centres of buckets of equal width, eq. 1."""
    low, high = jnp.asarray(low), jnp.asarray(high)
    return low + (codes + 0.5) * ((high - low) / buckets)


def equal_mass_edges(
    values: Float[np.ndarray, " n"], buckets: int
) -> Float[np.ndarray, " buckets_minus_1"]:
    """The inner edges of buckets that hold equally many of the values."""
    shares = np.arange(1, buckets) / buckets
    return np.quantile(np.asarray(values, np.float64), shares).astype(np.float32)


def to_equal_mass_codes(
    x: Float[Array, " b"], edges: Float[Array | np.ndarray, " buckets_minus_1"]
) -> Int[Array, " b"]:
    """The bucket of equal mass that each number is in, 0 .. number of edges."""
    return jnp.searchsorted(jnp.asarray(edges), x, side="right").astype(jnp.int32)
