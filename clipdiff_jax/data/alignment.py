"""Faces cut from photographs as FFHQ and CelebA-HQ were cut, and pasted back once they are edited.

A face's square is laid by its eyes and mouth (Karras et al. 2018, arXiv 1710.10196, appendix C, and
the same for FFHQ): level with the eyes, a tenth of the way from them to the mouth, and so large
that a model trained on such pictures finds the parts of a face where it expects them. `cut` takes
the square out, `paste` brings back what an edit changed, and leaves every other pixel as it was.

Coordinates are pixels, x to the right and y down, from the photograph's corner: the first pixel's
middle is (0.5, 0.5).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8
from PIL import Image, ImageFilter

from clipdiff_jax.core.checks import Number

Points = Float[np.ndarray, "_ 2"]
Photograph = UInt8[np.ndarray, "h w 3"]
Channels = Shaped[np.ndarray, "_ _ _"]
Crop = UInt8[np.ndarray, "size size 3"]

EYES, MOUTH = 2.0, 1.8  # half the side, in distances between the eyes, and from them to the mouth
DOWN = 0.1  # of the way from the eyes to the mouth is the middle
LARGEST = 4.0  # sides of a photograph that a square may have
RIM = 0.1  # share of the side over which what is pasted fades out
UNCHANGED, CHANGED = 10, 30  # levels of 255: smaller changes are the inversion's, larger the edit's
REACH = 64  # the side in units of the blur that carries a change to its surroundings


@dataclass(frozen=True)
class FaceSquare:
    """A square of a photograph, upright as the face in it.

    x, y: its middle. right_x, right_y: from there to the middle of its right side, as the viewer
    sees it. Raises `ValueError` for numbers that are not finite, or no square.
    """

    x: Number
    y: Number
    right_x: Number
    right_y: Number

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, self.numbers)) or not self.side > 0:
            raise ValueError(f"no square of a photograph: {self.numbers}")

    @property
    def side(self) -> float:
        """In pixels."""
        return 2 * math.hypot(self.right_x, self.right_y)

    @property
    def numbers(self) -> tuple[Number, Number, Number, Number]:
        """As a record has them."""
        return (self.x, self.y, self.right_x, self.right_y)

    def corners(self) -> Points:
        """Upper left, upper right, lower right, lower left."""
        middle = np.array([self.x, self.y], np.float64)
        right = np.array([self.right_x, self.right_y], np.float64)
        down = np.array([-self.right_y, self.right_x], np.float64)
        return np.stack(
            [middle - right - down, middle + right - down, middle + right + down,
             middle - right + down]
        )  # fmt: skip

    def fills(self, height: int, width: int, tolerance: float = 0.1) -> bool:
        """Whether a picture of that size is this square already, within a share of its side."""
        side = min(height, width)
        left, top = (width - side) / 2, (height - side) / 2
        wanted = [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]
        return bool(np.abs(self.corners() - np.array(wanted)).max() < tolerance * side)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a photograph that it touches: left, top, right, bottom."""
        low, high = self.corners().min(0), self.corners().max(0)
        left, top = (max(0, math.floor(one) - 1) for one in low)
        return left, top, min(width, math.ceil(high[0]) + 1), min(height, math.ceil(high[1]) + 1)


def square_of(left_eye: Points, right_eye: Points, mouth: Points) -> FaceSquare:
    """The square of a face from points around its eyes and the corners of its mouth [2, 2], left
    and right as the viewer sees them.

    Karras et al.: the side is twice the larger of 2.0 distances between the eyes and 1.8 distances
    from the eyes to the mouth; its direction is between that of the eyes and the one across the
    line from the eyes to the mouth.
    """
    left, right, below = left_eye.mean(0), right_eye.mean(0), mouth.mean(0)
    middle = (left + right) / 2
    across, down = right - left, below - middle
    direction = across + np.array([down[1], -down[0]])
    length = float(np.hypot(*direction))
    if length == 0:
        raise ValueError("the eyes and the mouth are one point")
    half = max(float(np.hypot(*across)) * EYES, float(np.hypot(*down)) * MOUTH)
    right_x, right_y = direction / length * half
    x, y = middle + DOWN * down
    return FaceSquare(float(x), float(y), float(right_x), float(right_y))


def cut(photo: Photograph, square: FaceSquare, size: int) -> Crop:
    """The square of a photograph at `size` pixels, anti-aliased.

    What lies outside the photograph is its reflection. Raises `ValueError` for a square whose
    middle is outside, or that is far larger than the photograph.
    """
    height, width = photo.shape[:2]
    if not (0 <= square.x <= width and 0 <= square.y <= height) or (
        square.side > LARGEST * max(height, width)
    ):
        raise ValueError(
            f"the square {square.numbers} is not of a photograph of {width} x {height} pixels"
        )
    low, high = square.corners().min(0), square.corners().max(0)
    left, top = (math.floor(one) - 3 for one in low)
    right, bottom = (math.ceil(one) + 3 for one in high)
    inside = photo[
        _within(top, height) : _within(bottom, height, 1),
        _within(left, width) : _within(right, width, 1),
    ]
    padding = [(max(0, -top), max(0, bottom - height)), (max(0, -left), max(0, right - width))]
    part = np.pad(inside, [*padding, (0, 0)], mode="reflect")
    fine = size * max(1, math.ceil(square.side / size))
    step = np.array([square.right_x, square.right_y]) * 2 / fine
    corner = square.corners()[0] - (left, top)
    affine = (step[0], -step[1], corner[0], step[1], step[0], corner[1])
    return _levels(_resized(_moved(part, (fine, fine), affine), size))


def paste(photo: Photograph, square: FaceSquare, before: Crop, after: Crop) -> Photograph:
    """A photograph with what changed from `before` to `after` in a square of it.

    before: what `cut` gave. after: the same, edited. Pixels that hardly changed (by less than 10 of
    255 levels) stay those of the photograph, with all its sharpness; those that did (by more than
    30) become those of `after`, brought to the photograph's size; between them, and towards the
    square's rim, one goes over into the other.
    """
    height, width = photo.shape[:2]
    if before.shape != after.shape:
        raise ValueError(f"before is {list(before.shape)} and after {list(after.shape)}")
    left, top, right, bottom = square.box(height, width)
    if left >= right or top >= bottom:
        return photo
    weights = changed(before, after) * _fading(len(after))
    if not weights.any():
        return photo
    size = min(len(after), math.ceil(square.side))  # a larger one would alias
    step = np.array([square.right_x, square.right_y]) * 2 / size
    scale = float(step @ step)
    inverse = np.array([[step[0], step[1]], [-step[1], step[0]]]) / scale
    start = inverse @ (np.array([left, top]) - square.corners()[0])
    affine = (*inverse[0], start[0], *inverse[1], start[1])
    shape = (right - left, bottom - top)

    weight = _moved(_resized(weights[..., None], size), shape, affine).clip(0, 1)
    pasted = _moved(_resized(after, size), shape, affine)
    whole = photo.copy()
    under = whole[top:bottom, left:right]
    mixed = under * (1 - weight) + pasted * weight
    whole[top:bottom, left:right] = _levels(mixed)
    return whole


def changed(before: Crop, after: Crop) -> Float32[np.ndarray, "size size"]:
    """How much each pixel is the edit's, from 0 to 1."""
    difference = np.abs(before.astype(np.float32) - after).max(-1)
    whole = ((difference - UNCHANGED) / (CHANGED - UNCHANGED)).clip(0, 1)
    reach = len(after) / REACH
    levels = Image.fromarray(np.round(whole * 255).astype(np.uint8))
    near = np.asarray(levels.filter(ImageFilter.GaussianBlur(reach)), np.float32) / 255
    return _smooth((near * 2).clip(0, 1))


def _fading(size: int) -> Float32[np.ndarray, "size size"]:
    """1 in the middle, falling to 0 at the rim."""
    place = (np.arange(size, dtype=np.float32) + 0.5) / size
    away = np.minimum(place, 1 - place) / np.float32(RIM)
    line = _smooth(away.clip(0, 1))
    return line[:, None] * line[None]


def _smooth(x: Float32[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    return x * x * (3 - 2 * x)


def _moved(
    image: Channels, shape: tuple[int, int], affine: tuple[float, ...]
) -> Float32[np.ndarray, "_ _ _"]:
    """A picture of that width and height, whose places `affine` maps to places of `image`.

    Each channel as floats, since Pillow cuts off fractions of levels.
    """
    kind, filter = Image.Transform.AFFINE, Image.Resampling.BICUBIC
    return _by_channel(image, lambda one: one.transform(shape, kind, affine, filter))


def _resized(image: Channels, size: int) -> Channels:
    if image.shape[:2] == (size, size):
        return image
    return _by_channel(image, lambda one: one.resize((size, size), Image.Resampling.LANCZOS))


def _by_channel(
    image: Channels, change: Callable[[Image.Image], Image.Image]
) -> Float32[np.ndarray, "_ _ _"]:
    channels = np.moveaxis(image.astype(np.float32), -1, 0)
    changed = [np.asarray(change(Image.fromarray(np.ascontiguousarray(c)))) for c in channels]
    return np.stack(changed, -1)


def _levels(image: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.round(image).clip(0, 255).astype(np.uint8)


def _within(place: int, length: int, low: int = 0) -> int:
    return min(max(place, low), length - 1 + low)
