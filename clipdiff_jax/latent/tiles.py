"""Large maps piece by piece: overlapping squares that are computed alone and blended.

An autoencoder's memory grows with the picture, its attention's with the square of that. Each square
sees itself alone, so that what is joined is not exactly what the whole would give; across the
overlaps one fades into the next.
"""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def tiled(
    apply: Callable[[Array], Array], x: Float[Array, "b h w c"], size: int, overlap: int
) -> Float[Array, "b i j d"]:
    """`apply` over squares of `size` that overlap by at least `overlap`, blended.

    apply: [B, size, size, C] -> [B, k size, k size, D] with k or 1/k a whole number, by which
        `size` and the sides divide; it sees one shape only. A side below `size` is one piece.
    """
    height, width = (min(side, size) for side in x.shape[1:3])
    first = apply(x[:, :height, :width])
    unit = max(height // first.shape[1], 1)  # pieces begin where whole pixels of the result do
    tops, lefts = (_starts(side, size, overlap, unit) for side in x.shape[1:3])
    larger = lambda pixels: pixels * first.shape[1] // height
    shape = larger(x.shape[1]), larger(x.shape[2])
    total = jnp.zeros((len(x), *shape, first.shape[-1]), first.dtype)
    weights = np.zeros((1, *shape, 1), np.float32)
    for top, left in itertools.product(tops, lefts):
        piece = apply(x[:, top : top + height, left : left + width]) if top or left else first
        down = _fade(larger(height), larger(overlap), top == 0, top == tops[-1])
        across = _fade(larger(width), larger(overlap), left == 0, left == lefts[-1])
        fade = np.outer(down, across)[None, :, :, None].astype(np.float32)
        place = np.s_[
            :,
            larger(top) : larger(top + height),
            larger(left) : larger(left + width),
        ]
        total, weights[place] = total.at[place].add(piece * fade), weights[place] + fade
    return total / weights


def _starts(side: int, size: int, overlap: int, unit: int) -> list[int]:
    """Where pieces begin: the first at the edge, the last at the other, evenly between."""
    if side <= size:
        return [0]
    count = -(-(side - overlap) // (size - overlap))
    return [round(i * (side - size) / (count - 1) / unit) * unit for i in range(count)]


def _fade(length: int, ramp: int, is_first: bool, is_last: bool) -> Float[np.ndarray, " n"]:
    """The weight along a piece: 1, and rising from and falling to an edge that is not the map's."""
    rise = np.minimum((np.arange(length) + 1) / (ramp + 1), 1)
    ones = np.ones(length)
    return (ones if is_first else rise) * (ones if is_last else rise[::-1])
