"""How far two pictures are apart, pixel by pixel and window by window.

With x and y in [-1, 1], whose range is L = 2, over the pixels and channels of a picture (what is
taken for one, and what refused, says `data.images.as_images`),

    MAE  = mean |x - y| / L                                                                (1)
    PSNR = 10 log10(L^2 / mean (x - y)^2)                                                  (2)

and over all windows that lie inside the picture, with Gaussian weights (standard deviation 1.5,
11 x 11 pixels) in means mu, variances s^2 and covariance s_xy,

    SSIM = mean (2 mu_x mu_y + C1) (2 s_xy + C2)
              / ((mu_x^2 + mu_y^2 + C1) (s_x^2 + s_y^2 + C2))                              (3)
    C1 = (0.01 L)^2,  C2 = (0.03 L)^2

for each channel and averaged over them (Wang et al. 2004, IEEE TIP 13(4), eq. 13). It is what
scikit-image computes with `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from clipdiff_jax.data.images import Pictures, as_pair

RANGE = 2.0  # of pictures in [-1, 1]
RADIUS, SIGMA = 5, 1.5  # of the window of SSIM
WINDOW = 2 * RADIUS + 1
C1, C2 = (0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2


def mae(images: Pictures, truths: Pictures) -> Float[Array, " b"]:
    """Mean absolute error of each picture, eq. 1: 0 to 1, as if pixels were in [0, 1]."""
    x, y = _pair(images, truths)
    return _mean(jnp.abs(x - y)) / RANGE


def psnr(
    images: Pictures, truths: Pictures, regions: Bool[Array | np.ndarray, "b h w"] | None = None
) -> Float[Array, " b"]:
    """Peak signal-to-noise ratio of each picture in decibels, eq. 2.

    regions: the pixels that count; None for all. Infinite where the pictures agree, NaN where a
    region has no pixels.
    """
    x, y = _pair(images, truths)
    errors = jnp.square(x - y)
    if regions is None:
        return 10 * jnp.log10(RANGE**2 / _mean(errors))
    counted = jnp.asarray(regions, jnp.float32)[..., None]
    share = _mean(jnp.broadcast_to(counted, errors.shape))
    return 10 * jnp.log10(RANGE**2 / (_mean(errors * counted) / share))


def ssim(images: Pictures, truths: Pictures) -> Float[Array, " b"]:
    """Structural similarity of each picture, eq. 3: 1 for equal pictures, -1 at least.

    Raises `ValueError` for pictures smaller than a window, 11 pixels.
    """
    x, y = _pair(images, truths)
    height, width = x.shape[1:3]
    if min(height, width) < WINDOW:
        raise ValueError(
            f"SSIM looks at windows of {WINDOW}x{WINDOW} pixels, the pictures have {height}x{width}"
        )
    return _mean(_similarity(x, y))


@jax.jit
def _similarity(x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]) -> Array:
    """The terms of eq. 3, one for each window and channel."""
    mean_x, mean_y = _blurred(x), _blurred(y)
    variances = _blurred(x * x) - mean_x**2 + _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    structure = (2 * covariance + C2) / (variances + C2)
    return luminance * structure


def _mean(values: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean of each picture, one axis at a time: in float32, one long sum loses digits."""
    return jnp.mean(jnp.mean(jnp.mean(values, axis=3), axis=2), axis=1)


def _blurred(x: Float[Array, "b h w c"]) -> Float[Array, "b i j c"]:
    """The weighted mean of each window inside the picture: sums of shifted pictures."""
    weights = np.exp(-0.5 * (np.arange(-RADIUS, RADIUS + 1) / SIGMA) ** 2)
    taps = [float(weight) for weight in weights / weights.sum()]
    height, width = (side - 2 * RADIUS for side in x.shape[1:3])
    rows = jnp.zeros((x.shape[0], height, *x.shape[2:]), x.dtype)
    for k, tap in enumerate(taps):
        rows = rows + tap * x[:, k : k + height]
    windows = jnp.zeros((x.shape[0], height, width, x.shape[3]), x.dtype)
    for k, tap in enumerate(taps):
        windows = windows + tap * rows[:, :, k : k + width]
    return windows


def _pair(images: Pictures, truths: Pictures) -> tuple[Array, Array]:
    """Both as float32. Raises `ValueError` where their shapes differ, and as `as_images` does."""
    x, y = as_pair(images, truths)
    if x.shape != y.shape:
        raise ValueError(f"pictures of shape {x.shape} against {y.shape}")
    return x, y
