"""Pictures as people hand them in, checked once at every entrance and turned into one thing.

Inside, pictures are float32 [B,H,W,3] in [-1, 1]. `as_images` makes that of whatever is clearly a
picture, and refuses the rest with an error that says what it saw and what to do. `middle_square`
brings pictures to the size that a model works at.

Floats in [0, 1] are refused too: taken for [-1, 1] they would be pale pictures without a dark
pixel, and nothing would say so. What is a picture in [0, 1] cannot be known, but it is likely where
all floats of a call are from 0 to 1, some near 0, some near 1 and some between: photographs in
[-1, 1] have pixels darker than mid-grey. A bright picture in [-1, 1] that is taken for one goes
through as uint8, which leaves no doubt, and so do pictures of our own, see `made_images`.

One filter is ours: Lanczos with three lobes, widened where pictures shrink (anti-aliased), here and
in `data.transforms`, which cuts files as uint8. It keeps edges sharper than bicubic at the same
absence of aliasing, and models of ours are trained on it. Other filters belong to what is
measured or published: bicubic in CLIP's preprocessing and before unCLIP's upsamplers, and the
resizes of FID's Inception and of the attribute classifier.
"""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt8
from PIL import Image

from clipdiff_jax.data.image_files import rgb
from clipdiff_jax.data.transforms import to_float, to_uint8

Picture = Shaped[Array | np.ndarray, "..."] | Image.Image
Pictures = Picture | Sequence[Picture]
Batch = Float32[Array, "_ _ _ 3"]
Ranges = list[tuple[float, float, bool]]  # of the floats of a call, see `_range`
HIGHEST = 4.0  # filters and unfinished models overshoot [-1, 1]; beyond is another range
DARK, BRIGHT = 0.25, 0.6  # floats of pictures in [0, 1] are below, between and above these
WANTED = "expected floats in [-1, 1] or uint8 in 0 .. 255"


def as_images(images: object) -> Batch:
    """Pictures as float32 [B,H,W,3] in [-1, 1].

    images: floats in [-1, 1] or uint8 in 0 .. 255, [H,W,3] or [B,H,W,3]; a PIL picture; or a list
        of such pictures of one size.

    Works on traced arrays too, of which type and shape alone are checked; gradients pass. Raises
    `TypeError` for numbers of another type, and `ValueError` for another shape, numbers that are
    not finite or of another range, and pictures of different sizes.
    """
    return _joined(read_pictures(images))


def as_squares(images: Pictures, size: int) -> Float[Array, "b size size 3"]:
    """`middle_square` of pictures that, in a list, may have different sizes. Raises as `as_images`.

    Each shape compiles a resize of its own.
    """
    return jnp.concatenate([middle_square(batch, size) for batch in read_pictures(images)])


def as_pair(images: object, others: object) -> tuple[Batch, Batch]:
    """Two sets of pictures that are compared, whose floats must be of one range."""
    ranges: Ranges = []
    first, second = (_joined(_read(one, ranges)) for one in (images, others))
    _check_doubtful(ranges)
    return first, second


def made_images(images: object) -> Batch:
    """As `as_images` pictures that were made here: floats in [0, 1] are bright pictures."""
    return _joined(_read(images, []))


def read_pictures(images: object) -> list[Batch]:
    """Pictures as `as_images` takes them, of any sizes; batches of one size."""
    ranges: Ranges = []
    batches = _read(images, ranges)
    _check_doubtful(ranges)
    return batches


def read_levels(images: object) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """Pictures as `as_images` takes them, one by one and as 0 .. 255."""
    return [to_uint8(np.asarray(one)) for batch in read_pictures(images) for one in batch]


def middle_square(
    images: Float[Array | np.ndarray, "b h w 3"], size: int
) -> Float[Array, "b size size 3"]:
    """The middle square of each picture at `size` pixels: Lanczos, anti-aliased, in [-1, 1].

    Differentiable. A square of that size is left as it is. `data.transforms.square` is its
    counterpart for files.
    """
    x = jnp.asarray(images, jnp.float32)
    height, width = x.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    x = x[:, top : top + side, left : left + side]
    if side == size:
        return x
    resized = jax.image.resize(x, (len(x), size, size, 3), "lanczos3", antialias=True)
    return jnp.clip(resized, -1, 1)


def _read(images: object, ranges: Ranges) -> list[Batch]:
    """The pictures in batches; `ranges` gets those of floats."""
    if isinstance(images, Image.Image):
        return [jnp.asarray(to_float(rgb(images)))[None]]
    if isinstance(images, (jax.Array, np.ndarray)):
        return [_checked(images, ranges)]
    if not isinstance(images, Sequence) or isinstance(images, (str, bytes)):
        what = f"'{images}'" if isinstance(images, str) else f"a {type(images).__name__}"
        raise TypeError(f"images are {what}, {WANTED}: clipdiff_jax.load_images reads files")
    if not images:
        raise ValueError("there are no images")
    return [batch for one in images for batch in _read(one, ranges)]


def _joined(batches: list[Batch]) -> Batch:
    sizes = list(dict.fromkeys(batch.shape[1:3] for batch in batches))
    if len(sizes) > 1:
        named = ", ".join(f"{height}x{width}" for height, width in sizes[:4])
        raise ValueError(
            f"images have different sizes ({named}), expected one: give them one by one, or bring "
            "them to one size, as clipdiff_jax.load_images(..., size=64) does"
        )
    return batches[0] if len(batches) == 1 else jnp.concatenate(batches)


def _checked(images: Array | np.ndarray, ranges: Ranges) -> Batch:
    """One array."""
    if images.dtype != np.uint8 and not jnp.issubdtype(images.dtype, jnp.floating):
        what = "keys" if jnp.issubdtype(images.dtype, jax.dtypes.prng_key) else str(images.dtype)
        fix = ": images / 127.5 - 1" if jnp.issubdtype(images.dtype, jnp.integer) else ""
        raise TypeError(f"images are {what}, {WANTED}{fix}")
    shape = list(images.shape)
    if images.ndim not in (3, 4) or shape[-1] != 3:
        raise ValueError(f"images are {shape}, expected [H,W,3] or [B,H,W,3]{_reshaped(shape)}")
    if 0 in shape:
        raise ValueError(f"images are {shape}: there are none, or they have no pixels")
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        images = to_float(images)
    elif images.dtype == jnp.uint8:
        images = images.astype(jnp.float32) / 127.5 - 1
    elif not isinstance(images, jax.core.Tracer):
        ranges.append(_range(images))
    x = jnp.asarray(images, jnp.float32)
    return x if x.ndim == 4 else x[None]


def _range(images: Array | np.ndarray) -> tuple[float, float, bool]:
    """The least and the greatest number, and whether some are between `DARK` and `BRIGHT`."""
    values = np.asarray(images)  # on the host, so that it is no part of a program being traced
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("images have numbers that are not finite (NaN or infinite)")
    if max(-low, high) > HIGHEST:
        fix = ": images / 127.5 - 1" if low >= 0 and high <= 255 else ""
        raise ValueError(f"images are floats from {low:g} to {high:g}, {WANTED}{fix}")
    within = low >= 0 and high <= 1  # else it does not matter
    return low, high, within and bool(((values > DARK) & (values < BRIGHT)).any())


def _check_doubtful(ranges: Ranges) -> None:
    """Raises `ValueError` for what is most likely in [0, 1]."""
    if not ranges:
        return
    lows, highs, between = zip(*ranges, strict=True)
    low, high = min(lows), max(highs)
    if 0 <= low < DARK and BRIGHT < high <= 1 and any(between):
        raise ValueError(
            f"images are floats from {low:.3g} to {high:.3g}, most likely in [0, 1], {WANTED}: "
            "images * 2 - 1. If they are bright pictures in [-1, 1], give them as uint8: "
            "np.uint8((images + 1) * 127.5)"
        )


def _reshaped(shape: list[int]) -> str:
    """What to do about a shape that is nearly right."""
    if len(shape) in (3, 4) and shape[-3] == 3:
        return ": channels come last, np.moveaxis(images, -3, -1)"
    if len(shape) in (3, 4) and shape[-1] == 4:
        return ": without transparency, images[..., :3]"
    if len(shape) in (3, 4) and shape[-1] == 1:
        return ": three channels also for grey, images.repeat(3, axis=-1)"
    if len(shape) == 2:
        return ": three channels also for grey, np.stack([images] * 3, axis=-1)"
    return ""


def digest_of(images: Shaped[np.ndarray, "..."]) -> str:
    """The sha256 of the values of pictures, without their type and shape."""
    return hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
