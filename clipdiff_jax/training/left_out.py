"""What stages with conditioning share: leaving it out for classifier-free guidance.

A network that is to be guided sees some examples without their condition (Ho and Salimans 2022,
arXiv 2207.12598, algorithm 1). A text that is left out is the empty text, as in Karlo.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

Tree = TypeVar("Tree")


def leave_out(left_out: Bool[Array, " b"], shown: Tree, empty: Tree) -> Tree:
    """Trees of arrays [B, ...], with the one example of `empty` [1, ...] where it is left out."""

    def one(a: Array, blank: Array | np.ndarray) -> Array:
        return jnp.where(left_out.reshape(-1, *[1] * (a.ndim - 1)), blank, a)

    return jax.tree.map(one, shown, empty)


def check_share(name: str, share: int | float) -> None:
    """Raises `ValueError` for what is no share."""
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must be a share between 0 and 1, got {share}")
