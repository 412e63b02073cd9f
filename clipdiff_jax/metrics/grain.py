"""Grain: how much neighbouring pixels differ where a picture should be flat.

Drawn avatars are areas of one colour, so that most 3 x 3 windows of a render hold a single value.
The standard deviation within a window of pixels x_1 .. x_9, of one channel,

    s = sqrt(mean (x_i - mean x)^2)                                                        (1)

is zero there, and its median over all windows of all pictures does not see the edges, which are
few. Of normal noise of standard deviation d on flat areas it is 0.90 d: 9 s^2 / d^2 is chi-squared
with eight degrees of freedom, whose median is 7.34.
"""

import numpy as np
from jaxtyping import Float

from clipdiff_jax.core.checks import check_floats
from clipdiff_jax.metrics.pixels import Images

SIDE = 3  # pixels, of a window


def local_deviation(images: Images) -> float:
    """The median of eq. 1 over every window inside of a picture and every channel.

    images: in [-1, 1], so the result is of a range of 2. Raises `ValueError` where there is no
    picture or one is smaller than a window, and `TypeError` for integers.
    """
    check_floats(images)
    if len(images) == 0 or min(images.shape[1:3]) < SIDE:
        raise ValueError(
            f"grain is seen in windows of {SIDE}x{SIDE} pixels, got pictures of shape "
            f"{tuple(images.shape)}"
        )
    return float(np.median([_deviations(np.asarray(image, np.float32)) for image in images]))


def _deviations(image: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "i j c"]:
    """Eq. 1 of each window; in float64, so that a flat one has exactly 0."""
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), axis=(0, 1))
    return windows.std(axis=(-2, -1), dtype=np.float64)
