"""From a large image to the small one that an upsampler is trained to undo.

At sampling the small image is what the part before it has drawn, with that part's faults. An
upsampler that has only seen perfect ones trusts them too much, so in training they are corrupted:
64 -> 256 px by a light Gaussian blur (Ho et al. 2021, arXiv 2106.15282, and Ramesh et al. 2022),
256 -> 1024 px by the chain of BSRGAN (Zhang et al. 2021, arXiv 2103.14006, section 3): blur,
resize, noise and JPEG in a random order, then JPEG once more.

NumPy and Pillow on single examples, run by the loader's workers: what comes out is a function of
the image and of the generator, and so of the run's seed and the example's place in it.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, UInt8
from PIL import Image

Resampling = Literal["area", "bilinear", "bicubic", "lanczos"]
Pixels = Float32[np.ndarray, "h w 3"]  # 0 .. 1
Resized = Float32[np.ndarray, "h2 w2 3"]

_FILTERS = {
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_RANDOM_FILTERS: tuple[Resampling, ...] = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Blur:
    """Gaussian blur of the small image.

    Attributes:
      kernel: width of the kernel in pixels, odd.
      sigma: standard deviation of the Gaussian it samples, in pixels.
      probability: share of the images that are blurred; 0 leaves all of them as resized. The paper
        names none.
    """

    kernel: int = 3
    sigma: float = 0.6
    probability: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"the kernel of a blur has an odd width, got {self.kernel}")
        if self.sigma <= 0:
            raise ValueError(f"the sigma of a blur must be positive, got {self.sigma}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"the probability of a blur is not in [0, 1]: {self.probability}")


@dataclass(frozen=True)
class BSR:
    """BSRGAN's chain from the large image to the small one.

    Attributes:
      strength: "full" is the paper's (two blurs, noise of 2 .. 25 grey levels, JPEG from quality
        30), "light" the variant that latent diffusion (Rombach et al. 2022) trains its upsampler
        on (one blur of a quarter of the width, noise of 1 or 2 levels, JPEG from quality 80).
    """

    strength: Literal["full", "light"] = "light"


Degradation = Blur | BSR


class _Ranges(NamedTuple):
    """Of a chain: what its random numbers are drawn between."""

    blurs: int
    blur_share: float  # of the full chain's widths
    isotropic_sizes: tuple[int, int]  # of kernels, in pixels, odd
    anisotropic_sizes: tuple[int, int]
    noise: tuple[int, int]  # grey levels
    quality: tuple[int, int]  # of JPEG
    resized: float  # share resized to a random size, rather than blurred and subsampled


_RANGES = {
    "full": _Ranges(2, 1.0, (7, 25), (7, 25), (2, 25), (30, 95), 0.75),
    "light": _Ranges(1, 0.25, (5, 7), (5, 13), (1, 2), (80, 95), 0.8),
}
_HALVED = 0.25  # share of the images to be shrunk fourfold that are halved before anything else
_COMPRESSED = 0.9  # share compressed on the way


def degrade(
    image: UInt8[np.ndarray, "h w 3"],
    size: int,
    how: Degradation,
    rng: np.random.Generator,
    resampling: Resampling = "area",
) -> UInt8[np.ndarray, "size size 3"]:
    """The square image at `size` pixels, corrupted.

    resampling: what resizes before a `Blur`; a `BSR` draws its own. All are antialiased.

    Raises `ValueError` for an image that is not square or smaller than `size`.
    """
    height, width = image.shape[:2]
    if height != width or height < size:
        raise ValueError(f"cannot make {size} x {size} pixels of {height} x {width}")
    if isinstance(how, BSR):
        return _bsr(image, size, _RANGES[how.strength], rng)
    small = np.asarray(Image.fromarray(image).resize((size, size), _FILTERS[resampling]))
    if rng.random() >= how.probability:
        return small
    return _to_uint8(convolve(_to_unit(small), gaussian_kernel(how.kernel, how.sigma)))


def gaussian_kernel(
    size: int, sigma: float, other_sigma: float | None = None, angle: float = 0.0
) -> Float[np.ndarray, "size size"]:
    """A Gaussian sampled at the pixels of a `size` x `size` square, summing to 1.

    sigma: standard deviation along `angle` (radians from the x axis); across it `other_sigma`, the
        same if None.
    """
    offset = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(offset, offset)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    other_sigma = sigma if other_sigma is None else other_sigma
    # A kernel narrower than a pixel is that of no blur, not one of zeros.
    exponent = (along / max(sigma, 1e-3)) ** 2 + (across / max(other_sigma, 1e-3)) ** 2
    kernel = np.exp(-0.5 * (exponent - exponent.min()))
    return kernel / kernel.sum()


def convolve(image: Pixels, kernel: Float[np.ndarray, "k l"]) -> Pixels:
    """The image blurred by a kernel, mirrored at its borders.

    A kernel with an even side gives the picture half a pixel further down or right of each pixel.
    """
    rows, columns = kernel.shape
    pad = [((side - 1) // 2, side // 2) for side in kernel.shape]
    padded = np.pad(image, [*pad, (0, 0)], mode="reflect")
    shape = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel, shape)[..., None]
    blurred = np.fft.irfft2(spectrum, shape, axes=(0, 1))
    return blurred[rows - 1 :, columns - 1 :].astype(np.float32)


def add_noise(image: Pixels, levels: tuple[int, int], rng: np.random.Generator) -> Pixels:
    """Gaussian noise with a standard deviation of `levels`' range in grey levels, of 255.

    Two in five images have noise of each channel's own, two in five grey noise, and one in five
    noise with a random covariance of the three channels, its variances up to the highest level's.
    """
    std = int(rng.integers(levels[0], levels[1], endpoint=True)) / 255
    kind = rng.random()
    if kind < 0.4:
        noise = np.repeat(rng.normal(0, std, (*image.shape[:2], 1)), 3, axis=2)
    elif kind < 0.8:
        noise = rng.normal(0, std, image.shape)
    else:
        axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        deviations = levels[1] / 255 * np.sqrt(rng.random(3))
        noise = rng.normal(size=image.shape) * deviations @ axes.T
    return np.clip(image + noise, 0, 1).astype(np.float32)


def compress(image: UInt8[np.ndarray, "h w 3"], quality: int) -> UInt8[np.ndarray, "h w 3"]:
    """The image after JPEG at a quality of 1 .. 95."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    file.seek(0)
    return np.asarray(Image.open(file))


def _bsr(
    image: UInt8[np.ndarray, "h w 3"], size: int, ranges: _Ranges, rng: np.random.Generator
) -> UInt8[np.ndarray, "size size 3"]:
    """The two resizings stay in their order; the other steps may be before, between or after."""
    pixels, scale = _to_unit(image), len(image) / size
    if scale == 4 and rng.random() < _HALVED:
        pixels, scale = _resize(pixels, len(pixels) // 2, rng), 2.0
    steps: list[Callable[[Pixels], Pixels]] = [
        *ranges.blurs * [partial(_blur, scale=scale, ranges=ranges, rng=rng)],
        partial(_shrink, scale=scale, ranges=ranges, rng=rng),
        partial(_resize, size=size, rng=rng),
        partial(add_noise, levels=ranges.noise, rng=rng),
        partial(_sometimes_compress, ranges=ranges, rng=rng),
    ]
    order = rng.permutation(len(steps))
    resizings = np.flatnonzero((order == ranges.blurs) | (order == ranges.blurs + 1))
    order[resizings] = ranges.blurs, ranges.blurs + 1
    for index in order:
        pixels = np.clip(steps[index](pixels), 0, 1)
    return compress(_to_uint8(pixels), _quality(ranges, rng))


def _blur(pixels: Pixels, scale: float, ranges: _Ranges, rng: np.random.Generator) -> Pixels:
    """Half of the kernels are isotropic, half have two variances and a direction."""
    if rng.random() < 0.5:
        variances = ranges.blur_share * (4 + scale) * rng.random(2)
        sizes, angle = ranges.anisotropic_sizes, np.pi * rng.random()
        sigma, other = np.sqrt(variances)
    else:
        sizes, angle = ranges.isotropic_sizes, 0.0
        sigma = other = ranges.blur_share * (2 + 0.2 * scale) * rng.random()
    size = int(rng.choice(np.arange(sizes[0], sizes[1] + 1, 2)))
    return convolve(pixels, gaussian_kernel(size, sigma, other, angle))


def _shrink(pixels: Pixels, scale: float, ranges: _Ranges, rng: np.random.Generator) -> Resized:
    """To a random size, or blurred and one pixel of each `scale` x `scale` square kept."""
    if rng.random() < ranges.resized:
        return _resize(pixels, max(1, int(len(pixels) / rng.uniform(1, 2 * scale))), rng)
    stride = round(scale)
    # The middle of a square may lie between two pixels, where an even kernel has its own.
    kernel = gaussian_kernel(24 + stride % 2, rng.uniform(0.1, 0.6 * scale))
    middle = (stride - 1) // 2
    return convolve(pixels, kernel)[middle::stride, middle::stride]


def _sometimes_compress(pixels: Pixels, ranges: _Ranges, rng: np.random.Generator) -> Pixels:
    if rng.random() >= _COMPRESSED:
        return pixels
    return _to_unit(compress(_to_uint8(pixels), _quality(ranges, rng)))


def _quality(ranges: _Ranges, rng: np.random.Generator) -> int:
    return int(rng.integers(*ranges.quality, endpoint=True))


def _resize(pixels: Pixels, size: int, rng: np.random.Generator) -> Resized:
    """By one of three filters; 32-bit, channel by channel, since Pillow has no such colours."""
    resampling = _FILTERS[_RANDOM_FILTERS[rng.integers(len(_RANDOM_FILTERS))]]
    channels = [Image.fromarray(pixels[..., i]).resize((size, size), resampling) for i in range(3)]
    return np.stack([np.asarray(channel) for channel in channels], axis=-1)


def _to_unit(image: UInt8[np.ndarray, "h w 3"]) -> Pixels:
    return image.astype(np.float32) / np.float32(255)


def _to_uint8(pixels: Pixels) -> UInt8[np.ndarray, "h w 3"]:
    return np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
