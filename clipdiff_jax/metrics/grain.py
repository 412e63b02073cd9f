"""Grain: how much neighbouring pixels differ where a picture should be flat.

Drawn avatars are areas of one colour, so that most 3 x 3 windows of a render hold a single value.
The standard deviation within a window of pixels x_1 .. x_9, of one channel,

    s = sqrt(mean (x_i - mean x)^2)                                                        (1)

is zero there, and its median over all windows of all pictures does not see the edges, which are
few. Of normal noise of standard deviation d on flat areas it is 0.90 d: 9 s^2 / d^2 is chi-squared
with eight degrees of freedom, whose median is 7.34.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from clipdiff_jax.data.images import Pictures, as_images

SIDE = 3  # pixels, of a window


def local_deviation(images: Pictures) -> float:
    """The median of eq. 1 over every window inside of a picture and every channel.

    images: see `data.images.as_images`; they come to [-1, 1], so the result is of a range of 2.
    Raises `ValueError` for pictures smaller than a window.
    """
    return median_deviation(np.asarray(as_images(images)))


def median_deviation(images: Iterable[Float[np.ndarray, "h w c"]]) -> float:
    """The same of pictures of any sizes, which are looked at one after another."""
    found = []
    for image in images:
        if min(image.shape[:2]) < SIDE:
            raise ValueError(
                f"grain is seen in windows of {SIDE}x{SIDE} pixels, got a picture of shape "
                f"{tuple(image.shape)}"
            )
        found.append(_deviations(image).ravel())
    if not found:
        raise ValueError("there are no pictures to measure")
    return float(np.median(np.concatenate(found)))


def _deviations(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "i j c"]:
    """Eq. 1 of each window; in float64, so that a flat one has exactly 0."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))
    return windows.std(axis=(-2, -1), dtype=np.float64)
