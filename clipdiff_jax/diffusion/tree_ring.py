"""Tree-Ring: a pattern among the low frequencies of the noise that a picture is drawn from.

Wen et al. 2023, arXiv 2305.20030. Of one channel of x_T, or of one direction among them,
with the unnormalised Fourier transform F and whole frequencies k, the coefficients of the disc, or
of the ring around an inner one,

    M = {k : inner < |k| <= radius},    inner >= 0

are replaced by those of a key. All pictures of a key share them, so that an inner disc that is left
alone leaves pictures what they are: of pixels the lowest frequencies say what is drawn.

A real plane can hold only a pattern with w(-k) = conj(w(k)), so both patterns here are made so:
"rand" is the transform of white noise, "ring" has one real value for each ring ceil(|k|). Noise of
variance 1 has E|F(k)|^2 = H W, and so have both. The plane's mean, k = 0, is never part of it.

A pattern is found again by how much the inverted noise y correlates with it, each conjugate pair
counted once, over the half M+ of n coefficients:

    c = Re sum conj(w) y / (|w| |y|),    t = c sqrt((2n - 1) / (1 - c^2))

Where y or w is isotropic in its 2n real numbers, t has Student's distribution of 2n - 1 degrees of
freedom. A pattern "rand" of a key that is drawn at random is so, whatever the picture.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Complex128, Float, Float32, Float64, Int
from scipy import special

Pattern = Literal["rand", "ring"]
SHARE = 10 / 64  # of the side, the published radius
LARGEST = 1 / 4  # of the side, the largest radius

Planes = Float[np.ndarray, "... h w"]


class Band(NamedTuple):
    """The frequencies of M: above `inner` and up to `radius`, in cycles a picture."""

    radius: int
    inner: int = 0


Mask = Bool[np.ndarray, "h w"]
Direction = tuple[float, ...]  # among the channels


def direction_of(channel: int | None, channels: int) -> Direction:
    """A channel as a direction of length 1 among them all; None is the mean of all."""
    if channel is None:
        return (channels**-0.5,) * channels
    return tuple(float(one == channel % channels) for one in range(channels))


def along(
    noise: Float[np.ndarray, "b h w c"], direction: Direction
) -> Float64[np.ndarray, "b h w"]:
    """The planes of noise in a direction; of white noise they are white noise of variance 1."""
    return np.asarray(noise, np.float64) @ np.array(direction)


def check_band(band: Band, height: int, width: int) -> None:
    """Raises `ValueError` for a band that is empty, or wider than a quarter of the plane."""
    radius, inner = band
    highest = int(LARGEST * min(height, width))
    if not 1 <= radius <= highest:
        raise ValueError(
            f"radius={radius}, expected 1 to {highest}, a quarter of the noise's {height}x{width}"
        )
    if not 0 <= inner < radius:
        raise ValueError(f"inner={inner}, expected 0 to {radius - 1}, below the radius {radius}")


def disc(height: int, width: int, band: Band) -> Mask:
    """M, on the grid of `numpy.fft.fft2`."""
    distance = _distance(height, width)
    return (distance > band.inner) & (distance <= band.radius)


def half_disc(height: int, width: int, band: Band) -> Mask:
    """M+: one of each pair k, -k of M."""
    down, across = _frequencies(height, width)
    return disc(height, width, band) & ((down > 0) | ((down == 0) & (across > 0)))


def key_pattern(
    secret: bytes, pattern: Pattern, height: int, width: int, band: Band
) -> Complex128[np.ndarray, "h w"]:
    """The coefficients w of a key on M, zero elsewhere; w(-k) = conj(w(k)) to rounding."""
    mask = disc(height, width, band)
    if pattern == "rand":
        noise = _normals(secret, f"rand {height}x{width}", height * width)
        return np.where(mask, np.fft.fft2(noise.reshape(height, width)), 0)
    values = _normals(secret, f"ring {height}x{width}", band.radius) * np.sqrt(height * width)
    ring = np.ceil(_distance(height, width)).astype(int)
    return np.where(mask, values[np.clip(ring, 1, band.radius) - 1], 0).astype(np.complex128)


def embed(planes: Planes, coefficients: Complex128[np.ndarray, "h w"], mask: Mask) -> Planes:
    """Planes of noise whose coefficients on M are the key's; the others stay what they are."""
    changed = np.where(mask, coefficients, np.fft.fft2(np.asarray(planes, np.float64)))
    return np.fft.ifft2(changed).real.astype(np.asarray(planes).dtype)


def spectrum(planes: Planes, half: Mask) -> Complex128[np.ndarray, "... n"]:
    """The coefficients of planes on M+."""
    return np.fft.fft2(np.asarray(planes, np.float64))[..., half]


def correlations(
    planes: Planes,
    coefficients: Complex128[np.ndarray, "h w"],
    half: Mask,
    shifts: Int[np.ndarray, "t 2"] | None = None,
) -> Float64[np.ndarray, "... t"]:
    """c of inverted planes, and of the same moved by each of `shifts` (down, across; in cells)."""
    return correlated(spectrum(planes, half), coefficients, half, shifts)


def correlated(
    y: Complex128[np.ndarray, "... n"],
    coefficients: Complex128[np.ndarray, "h w"],
    half: Mask,
    shifts: Int[np.ndarray, "t 2"] | None = None,
) -> Float64[np.ndarray, "... t"]:
    """The same of planes that are a `spectrum` already.

    A shift of a plane is a phase of its coefficients, so many of them cost one transform.
    """
    height, width = half.shape
    w = coefficients[half]
    norm = np.linalg.norm(w) * np.linalg.norm(y, axis=-1, keepdims=True)
    moved = np.zeros((1, 2), int) if shifts is None else shifts
    down, across = (k[half] for k in _frequencies(height, width))
    angles = moved[:, :1] * down / height + moved[:, 1:] * across / width
    # F of a plane moved by s is F(k) exp(-2 pi i k s); conj(w) y summed with all of them at once.
    sums = (np.conj(w) * y) @ np.exp(-2j * np.pi * angles).T
    return np.clip(sums.real / np.maximum(norm, np.finfo(float).tiny), -1, 1)


def p_values(correlation: Float[np.ndarray, "..."], half: Mask) -> Float64[np.ndarray, "..."]:
    """How often planes without the pattern correlate as much: Student's t, one-sided."""
    freedom = 2 * int(half.sum()) - 1
    c = np.asarray(correlation, np.float64)
    with np.errstate(divide="ignore"):
        t = c * np.sqrt(freedom / (1 - c**2))
    return np.asarray(special.stdtr(freedom, -t))  # scipy.stats takes long to import


def shifts_within(slack: Sequence[int]) -> Int[np.ndarray, "t 2"]:
    """Every move of up to so many cells down and across, either way."""
    down, across = (np.arange(-one, one + 1) for one in slack)
    return np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)


def _frequencies(
    height: int, width: int
) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
    """The whole frequency of each coefficient, down and across, signed."""
    down, across = np.fft.fftfreq(height) * height, np.fft.fftfreq(width) * width
    return tuple(np.meshgrid(np.round(down), np.round(across), indexing="ij"))  # type: ignore[return-value]


def _distance(height: int, width: int) -> Float[np.ndarray, "h w"]:
    return np.hypot(*_frequencies(height, width))


def _normals(secret: bytes, label: str, count: int) -> Float64[np.ndarray, " n"]:
    """Standard normal numbers of a secret, the same in every version of every library: the bits are
    SHAKE-256's, so that from some of them nobody gets at others or at the secret."""
    bits = hashlib.shake_256(b"clipdiff_jax tree-ring\0" + secret + label.encode()).digest(
        8 * count
    )
    uniform = (np.frombuffer(bits, "<u8") >> np.uint64(11)).astype(np.float64)
    return special.ndtri((uniform + 0.5) * 2.0**-53)


def marked(
    noise: Float32[np.ndarray, "b h w c"],
    secret: bytes,
    pattern: Pattern,
    band: Band,
    direction: Direction,
) -> Float32[np.ndarray, "b h w c"]:
    """Noise of pictures with a key's pattern in one direction of the channels.

    A pattern "ring" has a few values only, which may all be small: it is scaled to the power of
    noise, which its p-value does not see.
    """
    height, width = noise.shape[1:3]
    w, mask = key_pattern(secret, pattern, height, width, band), disc(height, width, band)
    if pattern == "ring":
        w = w * np.sqrt(height * width / np.mean(np.abs(w[mask]) ** 2))
    planes = along(noise, direction)
    change = embed(planes, w, mask) - planes
    return (noise + change[..., None] * np.array(direction)).astype(np.float32)
