"""Sparse graphs among the pieces of a puzzle: random regular ones, nearly always expanders.

A random d-regular graph is the union of d/2 random cyclic orders, each piece joined to the next and
the one before, and of a perfect matching where d is odd. By Alon and Boppana no d-regular graph of
many nodes has its second largest eigenvalue much below 2 sqrt(d - 1); a draw is kept where the
Laplacian's second smallest eigenvalue is

    lambda_2 >= d - 2 sqrt(d - 1) - 0.1                                                    (1)

so that what any piece knows reaches all others within few layers (DiffAssemble, arXiv 2402.19302,
section 3.3, after Exphormer, arXiv 2303.06147).
"""

import numpy as np
from jaxtyping import Bool

TRIES = 5
SLACK = 0.1
COMPLETE_UP_TO = 10  # nodes: below, every two are joined


def degree_of(count: int, share: float) -> int:
    """The degree of a regular graph of `count` nodes in which each sees a share of the others.

    It is at least 2 (where there are as many), and even where the number of nodes is odd.
    """
    degree = min(max(round(share * (count - 1)), 2), count - 1)
    if degree * count % 2:  # both are odd, so that count - 1 is even
        degree += 1
    return degree


def expander(count: int, degree: int, rng: np.random.Generator) -> Bool[np.ndarray, "n n"]:
    """A random regular graph, symmetric and without loops, with eq. 1 where five tries find it, or
    else the best of them.

    Up to ten nodes are all joined. Raises `ValueError` for a degree that no graph has: below 1,
    from `count` on, or odd for an odd number of nodes.
    """
    if count < 2 or not 1 <= degree < count:
        raise ValueError(
            f"a graph of {count} nodes has no degree {degree}, expected 1 to {count - 1}"
        )
    if degree * count % 2:
        raise ValueError(
            f"no graph of {count} nodes has the odd degree {degree}: one of them must be even"
        )
    if count <= COMPLETE_UP_TO or degree == count - 1:
        return ~np.eye(count, dtype=bool)
    wanted = degree - 2 * np.sqrt(degree - 1) - SLACK
    best, found = -np.inf, np.zeros((count, count), bool)
    for _ in range(TRIES):
        edges = _draw(count, degree, rng)
        gap = second_eigenvalue(edges)
        if gap > best:
            best, found = gap, edges
        if best >= wanted:
            break
    return found


def second_eigenvalue(edges: Bool[np.ndarray, "n n"]) -> float:
    """The second smallest eigenvalue of the graph's Laplacian: above 0 where it is connected."""
    laplacian = np.diag(edges.sum(1)) - edges.astype(np.float64)
    return float(np.linalg.eigvalsh(laplacian)[1])


def _draw(count: int, degree: int, rng: np.random.Generator) -> Bool[np.ndarray, "n n"]:
    """d // 2 cyclic shifts of one order, and a matching of opposite nodes for an odd d."""
    order = rng.permutation(count)
    shifts = 1 + rng.permutation((count - 1) // 2)[: degree // 2]
    edges = np.zeros((count, count), bool)
    for shift in shifts:
        edges[order, np.roll(order, -int(shift))] = True
    if degree % 2:
        edges[order, np.roll(order, count // 2)] = True
    return edges | edges.T
