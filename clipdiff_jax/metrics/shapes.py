"""What a picture of coloured shapes shows, found without a network: objects, colours, places.

The truth of `data.shapes` makes it short. A pixel is an object's where it is far from grey; an
object is what hangs together; its colour is the nearest of the palette to its median; and its shape
follows from how much of its own bounding box it fills: a square all of it, a circle pi / 4, a
triangle half. All of it is NumPy on pictures [H,W,3] in [-1, 1].
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float

from clipdiff_jax.data.shapes import COLORS, GREY, Box, Scene

Picture = Float[Array | np.ndarray, "h w 3"]
FAR = 48  # of 255, in some channel: further than this from grey is an object's
PRESENT = 0.3  # the share of a box that must be some object's
LEAST = 0.01  # of the picture: smaller islands are no objects
FILLED = {"circle": np.pi / 4, "square": 1.0, "triangle": 0.5}
_NAMES, _PALETTE = list(COLORS), np.array(list(COLORS.values()), np.float32)


class Found(NamedTuple):
    """An object of a picture; box: left, top, right, bottom as shares of its sides."""

    color: str
    shape: str
    box: Box


class Bound(NamedTuple):
    """How the objects of a caption came out, each true or false.

    right: every colour is on its shape. swapped: not right, and some colour that was asked for is
    on a shape that was asked for in another colour. missing: fewer objects than were asked for.
    """

    right: bool
    swapped: bool
    missing: bool


class Placed(NamedTuple):
    """How a layout came out.

    present, colored, shaped: of each box whether it holds an object, one of the right colour, and
    one of the right shape. spill: the share of the pixels outside of all boxes that are objects'.
    """

    present: Bool[np.ndarray, " n"]
    colored: Bool[np.ndarray, " n"]
    shaped: Bool[np.ndarray, " n"]
    spill: float


def find_objects(image: Picture) -> list[Found]:
    """The objects of a picture, from the top down."""
    pixels = _pixels(image)
    mask = _of_objects(pixels)
    height, width = mask.shape
    found = []
    for island in _islands(mask):
        if island.sum() < LEAST * mask.size:
            continue
        rows, columns = np.nonzero(island.any(1))[0], np.nonzero(island.any(0))[0]
        top, bottom = int(rows[0]), int(rows[-1]) + 1
        left, right = int(columns[0]), int(columns[-1]) + 1
        box = (left / width, top / height, right / width, bottom / height)
        filled = island.sum() / ((bottom - top) * (right - left))
        found.append(Found(_color(pixels[island]), _shape(filled), box))
    return found


def judge_binding(image: Picture, wanted: Scene) -> Bound:
    """Whether the colours of a caption are on their shapes; where they are does not matter."""
    found = [(one.color, one.shape) for one in find_objects(image)]
    left = list(found)
    unmet = []
    for thing in wanted:
        pair = (thing.color, thing.shape)
        if pair in left:
            left.remove(pair)
        else:
            unmet.append(thing)
    others = {(a.color, b.shape) for a in wanted for b in wanted if a is not b}
    own = {(thing.color, thing.shape) for thing in wanted}
    swapped = bool(unmet) and any(pair in others - own for pair in left)
    return Bound(not unmet, swapped, len(found) < len(wanted))


def judge_layout(image: Picture, wanted: Scene) -> Placed:
    """Whether the boxes of a layout hold what they should."""
    pixels = _pixels(image)
    mask = _of_objects(pixels)
    outside = np.ones_like(mask)
    rows = []
    for thing in wanted:
        window = _window(thing.box, mask.shape)
        inside = mask[window]
        outside[window] = False
        if not inside.any():
            rows.append((False, False, False))
            continue
        own = np.zeros_like(mask)
        own[window] = inside
        ys, xs = np.nonzero(own.any(1))[0], np.nonzero(own.any(0))[0]
        filled = inside.sum() / ((ys[-1] + 1 - ys[0]) * (xs[-1] + 1 - xs[0]))
        is_colored = _color(pixels[own]) == thing.color
        is_there = bool(inside.mean() >= PRESENT)
        rows.append((is_there, is_colored, _shape(filled) == thing.shape))
    present, colored, shaped = np.array(rows, bool).reshape(-1, 3).T
    spill = float(mask[outside].mean()) if outside.any() else 0.0
    return Placed(present, colored & present, shaped & present, spill)


def _pixels(image: Picture) -> Float[np.ndarray, "h w 3"]:
    return (np.clip(np.asarray(image, np.float32), -1, 1) + 1) * 127.5


def _of_objects(pixels: Float[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    return np.abs(pixels - np.array(GREY, np.float32)).max(-1) > FAR


def _color(pixels: Float[np.ndarray, "n 3"]) -> str:
    distance = np.linalg.norm(_PALETTE - np.median(pixels, axis=0), axis=1)
    return _NAMES[int(distance.argmin())]


def _shape(filled: float) -> str:
    return min(FILLED, key=lambda name: abs(FILLED[name] - filled))


def _window(box: Box, sides: Sequence[int]) -> tuple[slice, slice]:
    """A box as rows and columns, all that it touches."""
    left, top, right, bottom = box
    rows = slice(int(np.floor(top * sides[0])), int(np.ceil(bottom * sides[0])))
    return rows, slice(int(np.floor(left * sides[1])), int(np.ceil(right * sides[1])))


def _islands(mask: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "h w"]]:
    """The parts of a mask that hang together along sides of pixels, from the top down."""
    left, islands = mask.copy(), []
    while left.any():
        island = np.zeros_like(mask)
        stack = [tuple(np.argwhere(left)[0])]
        while stack:
            y, x = stack.pop()
            if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1] and left[y, x]:
                left[y, x], island[y, x] = False, True
                stack += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
        islands.append(island)
    return islands
