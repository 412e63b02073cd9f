"""Telling photographs from drawings, since the demo's models have never seen one.

A drawing at 64 pixels is made of few colours: of the 4096 of 16 levels a channel, 3 to 15 cover
nine tenths of an avatar, 18 to 44 of a portrait (48 renders of four styles, 51 photographs).
"""

import warnings
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, UInt8

from clipdiff_jax.data.transforms import square, to_uint8

SIZE, LEVELS, SHARE, MOST = 64, 16, 0.9, 17
LOOKED_AT = 16


def colours(image: UInt8[np.ndarray, "h w 3"]) -> int:
    """How many colours cover nine tenths of the middle square."""
    levels = square(image, SIZE).astype(int) // (256 // LEVELS)
    places = levels @ np.array([LEVELS**2, LEVELS, 1])
    counts = np.sort(np.bincount(places.ravel()))[::-1]
    return int(np.searchsorted(np.cumsum(counts), SHARE * counts.sum())) + 1


def look_like_photographs(images: Sequence[UInt8[np.ndarray, "h w 3"]]) -> bool:
    """Whether the first few of them do, by the one in the middle."""
    return float(np.median([colours(image) for image in images[:LOOKED_AT]])) > MOST


def are_photographs(images: Array | np.ndarray) -> bool:
    """The same of pictures [B,H,W,3] in [-1, 1]; of traced ones nothing is known."""
    if isinstance(images, jax.core.Tracer):
        return False
    return look_like_photographs(list(to_uint8(np.asarray(images[:LOOKED_AT], np.float32))))


def warn_of_photographs() -> None:
    """Says what the demo cannot do. Python shows a warning of one place once."""
    warnings.warn(
        "these pictures look like photographs; the demo's models know cartoon faces alone. Give a "
        "model of photographs, such as google/ddpm-celebahq-256",
        stacklevel=3,
    )
