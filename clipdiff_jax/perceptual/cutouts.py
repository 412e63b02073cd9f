"""Cutouts: random squares of a picture at the size that CLIP takes.

CLIP's gradient of a whole picture finds texture that only CLIP sees; of many random squares it
finds what each of them shows (Crowson 2021). Corners and sides are continuous and traced, and the
resampling is a product of matrices: one program for all of them, and gradients pass.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.request import Number

SMALLEST = 0.4  # of a picture no larger than CLIP's input


def side_range(height: int, width: int, size: int) -> tuple[int, int]:
    """The smallest and the largest side of a cutout, in pixels, for CLIP's input `size`.

    Of a picture larger than that input the smallest cutout has the input's size. Of one that is not
    it is `SMALLEST` of the picture, else every cutout would be the whole.
    """
    largest = min(height, width)
    return (size if size < largest else max(1, round(SMALLEST * largest))), largest


def cutout_boxes(
    key: Key[Array, ""], count: int, shape: tuple[int, int], size: int, power: Number | Array = 1.0
) -> Float[Array, "count 3"]:
    """(top, left, side) of `count` squares inside a picture of `shape` (height, width), in pixels.

    side = smallest + u^power (largest - smallest) with u uniform: a power of 0 takes the largest
    square, 1 all sides alike, more prefers small ones. The place is uniform.
    """
    height, width = shape
    smallest, largest = side_range(height, width, size)
    draw = jax.random.uniform(key, (count, 3), jnp.float32)
    side = smallest + draw[:, 0] ** power * (largest - smallest)
    room = jnp.array([height, width], jnp.float32) - side[:, None]
    return jnp.concatenate([draw[:, 1:] * room, side[:, None]], axis=1)


def cut(
    image: Float[Array, "h w c"], boxes: Float[Array, "n 3"], size: int
) -> Float[Array, "n size size c"]:
    """The squares of a picture, each resized to `size` pixels: linear, anti-aliased."""
    channels = image.shape[-1]

    def one(box: Float[Array, " 3"]) -> Array:
        scale = size / jnp.broadcast_to(box[2], (2,))
        return jax.image.scale_and_translate(
            image, (size, size, channels), (0, 1), scale, -box[:2] * scale, "linear", antialias=True
        )

    return jax.vmap(one)(boxes)


def cutouts(
    images: Float[Array, "b h w c"],
    keys: Key[Array, " b"],
    count: int,
    size: int,
    power: Number | Array = 1.0,
) -> Float[Array, "b count size size c"]:
    """`count` random squares of each picture, which depend on its own key alone."""

    def of_one(image: Array, key: Key[Array, ""]) -> Array:
        height, width, _ = image.shape
        return cut(image, cutout_boxes(key, count, (height, width), size, power), size)

    return jax.vmap(of_one)(images, keys)
