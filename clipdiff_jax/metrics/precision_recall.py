"""Precision and recall of generated pictures (Kynkäänniemi et al. 2019, arXiv 1904.06991).

The manifold of a set is the union of balls around its feature vectors, each as far as its k-th
nearest neighbour in the set (eq. 1 of the paper). Precision is the share of generated pictures
within the manifold of the reference, recall the share of the reference within that of the
generated (eq. 2). The published numbers take k = 3 and the same number of pictures of each kind;
theirs are VGG-16 features, ours Inception's.
"""

import numpy as np
from jaxtyping import Bool, Float

from clipdiff_jax.metrics.features import check_features
from clipdiff_jax.metrics.uncertainty import Measured, bootstrap

NEIGHBOURS = 3
BLOCK = 1024  # rows of a distance matrix at a time


def precision(
    generated: Float[np.ndarray, "n d"],
    reference: Float[np.ndarray, "m e"],
    *,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> Measured:
    """How many generated pictures look real: the share within the manifold of the reference.

    The uncertainty is the bootstrap's over the pictures it judges, the manifold taken as it is.
    Raises `ValueError` where a set has no more than `neighbours` pictures, and for features of
    different lengths.
    """
    _check(generated, reference, neighbours)
    return _share_within(generated, reference, neighbours, seed)


def recall(
    generated: Float[np.ndarray, "n d"],
    reference: Float[np.ndarray, "m e"],
    *,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> Measured:
    """How much of what is real is generated: the share within the manifold of the generated.

    As `precision`, the other way round.
    """
    _check(generated, reference, neighbours)
    return _share_within(reference, generated, neighbours, seed)


def _check(generated: np.ndarray, reference: np.ndarray, neighbours: int) -> None:
    if min(len(generated), len(reference)) <= neighbours or neighbours < 1:
        raise ValueError(
            f"precision and recall with {neighbours} neighbours need {neighbours + 1} pictures or "
            f"more of each kind, got {len(generated)} and {len(reference)}"
        )
    check_features(generated, reference)


def _share_within(x: np.ndarray, manifold: np.ndarray, neighbours: int, seed: int) -> Measured:
    within = _within(x.astype(np.float64), manifold.astype(np.float64), neighbours)
    return bootstrap(within.astype(np.float64), seed=seed)


def _within(
    x: Float[np.ndarray, "n d"], manifold: Float[np.ndarray, "m d"], neighbours: int
) -> Bool[np.ndarray, " n"]:
    """Which of x are within a ball of the manifold's."""
    radii = np.concatenate(
        [  # the nearest is the picture itself
            np.partition(_squared_distances(part, manifold), neighbours, axis=1)[:, neighbours]
            for part in _parts(manifold)
        ]
    )
    return np.concatenate(
        [(_squared_distances(part, manifold) <= radii).any(axis=1) for part in _parts(x)]
    )


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + BLOCK] for start in range(0, len(x), BLOCK)]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x|^2 + |y|^2 - 2 x . y; what of it is rounding is zero, so that equal pictures are equal."""
    lengths = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    squared = lengths - 2 * (x @ y.T)
    squared[squared < 1e-12 * lengths] = 0
    return squared
