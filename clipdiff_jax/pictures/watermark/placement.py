"""Where in a whole picture a part of it lies: where the model that drew it expects what is seen.

A network that was trained on aligned pictures inverts a part only where it belongs: a cell beside
that, and hardly any of its noise is found. So a part is laid on the average of what the model
draws, at every scale and place, and the best of these are shown to the network with noise on them:
the less surprising the noise, the likelier the place. Half and quarter cells are tried last.

None of it knows of a key, so that p-values need no correction but for what is looked at in the end.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image

SMALLEST = 3 / 4  # of the whole, a part's side
COARSE = 64  # cells of the grid on which parts are laid on the average, at most
SHORT = 32  # places that the network is shown, of those of a part
Square = UInt8[np.ndarray, "_ _ 3"]  # of as many pixels as there are
Levels = UInt8[np.ndarray, "s s 3"]
Average = Float32[np.ndarray, "s s 3"]
Mask = Bool[np.ndarray, "s s"]


class Placement(NamedTuple):
    """Where a part lies: its middle, down and across, and its side, as shares of the whole; and
    whether it is mirrored first."""

    down: float
    across: float
    side: float
    mirrored: bool = False

    @property
    def name(self) -> str:
        """In words."""
        part = "as it is" if self.side == 1 else f"{self.side:.3g} of the whole"
        return f"{part}, mirrored" if self.mirrored else part

    def within(self) -> "Placement":
        """The same, or the nearest inside of the whole."""
        side = min(self.side, 1.0)
        low, high = side / 2, 1 - side / 2
        return self._replace(
            down=min(max(self.down, low), high), across=min(max(self.across, low), high), side=side
        )


class Expectation(NamedTuple):
    """What is known of where a model draws what.

    average: of its pictures, in [-1, 1]. surprise: whole pictures, and which of their cells are
    known -> how badly noise on those is told from the picture.
    """

    average: Average
    surprise: Callable[
        [UInt8[np.ndarray, "b s s 3"], Bool[np.ndarray, "b s s"]], Float32[np.ndarray, " b"]
    ]


def centred(scale: float, mirrored: bool = False) -> Placement:
    """In the middle of the whole."""
    return Placement(0.5, 0.5, scale, mirrored)


def placed(part: Square, place: Placement, size: int) -> Levels:
    """The whole at `size` pixels with a part where it belongs; around it its edge goes on."""
    part = part[:, ::-1] if place.mirrored else part
    rows, columns = _inside(place, size)
    per = len(part) / (place.side * size)  # pixels of the part for one of the whole
    top, left = ((middle - place.side / 2) * size for middle in place[:2])
    box = [(columns[0] - left) * per, (rows[0] - top) * per]
    box += [(columns[1] - left) * per, (rows[1] - top) * per]
    drawn = Image.fromarray(part).resize(
        (columns[1] - columns[0], rows[1] - rows[0]),
        Image.Resampling.LANCZOS,
        box=tuple(np.clip(box, 0, len(part))),  # rounding may lead out of it
    )
    around = [(low, size - high) for low, high in (rows, columns)]
    return np.pad(np.asarray(drawn), (*around, (0, 0)), mode="edge")


def covered(place: Placement, size: int) -> Mask:
    """The cells of a whole of `size` that a part fills."""
    mask = np.zeros((size, size), bool)
    mask[tuple(slice(*ends) for ends in _inside(place, size))] = True
    return mask


def likeliest(parts: Sequence[Square], expected: Expectation, mirrored: bool) -> list[Placement]:
    """Where each part lies, if it is not the whole; see the top of this file."""
    size = len(expected.average)
    grid = min(COARSE, size)
    lists = _candidates(parts, _resized(expected.average, grid), mirrored)
    surprises = _surprises(parts, lists, expected)
    best = [near[int(s.argmin())] for near, s in zip(lists, surprises, strict=True)]
    step = 0.5 / grid
    while step >= 0.25 / size:
        lists = [[_moved(one, axis, by) for axis, by in _moves(step)] for one in best]
        surprises = _surprises(parts, lists, expected)
        best = [_lowest(near, s, step) for near, s in zip(lists, surprises, strict=True)]
        step /= 2
    return best


def _candidates(parts: Sequence[Square], average: Average, mirrored: bool) -> list[list[Placement]]:
    """The `SHORT` best places of each part on the grid of the average: those where it correlates
    most with what is there on average, each channel less its mean."""
    grid = len(average)
    found: list[list[tuple[float, Placement]]] = [[] for _ in parts]
    for side in range(int(np.ceil(grid * SMALLEST)), grid):
        count = grid - side + 1
        windows = np.lib.stride_tricks.sliding_window_view(average, (side, side), axis=(0, 1))
        flat = _unit(windows.reshape(count * count, 3, side * side))
        for one, part in zip(found, parts, strict=True):
            seen = part[:, ::-1] if mirrored else part
            small = _resized(seen.astype(np.float32), side).transpose(2, 0, 1)
            like = flat @ _unit(small.reshape(1, 3, side * side))[0]
            for index in np.argsort(-like)[:SHORT]:
                top, left = divmod(int(index), count)
                middle = ((top + side / 2) / grid, (left + side / 2) / grid)
                one.append((float(like[index]), Placement(*middle, side / grid, mirrored)))
    return [[place for _, place in sorted(one, key=lambda pair: -pair[0])[:SHORT]] for one in found]


def _surprises(
    parts: Sequence[Square], lists: Sequence[Sequence[Placement]], expected: Expectation
) -> list[Float32[np.ndarray, " k"]]:
    """Of each part at each of its places."""
    size = len(expected.average)
    pairs = [(part, place) for part, one in zip(parts, lists, strict=True) for place in one]
    wholes = np.stack([placed(part, place, size) for part, place in pairs])
    known = np.stack([covered(place, size) for _, place in pairs])
    ends = np.cumsum([len(one) for one in lists])[:-1]
    return np.split(expected.surprise(wholes, known), ends)


def _moves(step: float) -> list[tuple[int, float]]:
    """(Which of down, across and side, by how much): none, then each by a step less and more."""
    return [(0, 0.0), *itertools.product(range(3), (-step, step))]


def _moved(place: Placement, axis: int, by: float) -> Placement:
    values = [*place[:3]]
    values[axis] += by
    down, across, side = values
    return Placement(down, across, side, place.mirrored).within()


def _lowest(
    near: Sequence[Placement], surprises: Float32[np.ndarray, " 7"], step: float
) -> Placement:
    """Where parabolas through a place and its two neighbours along each axis are lowest."""
    here, place = float(surprises[0]), near[0]
    for axis in range(3):
        less, more = (float(one) for one in surprises[1 + 2 * axis :][:2])
        bend = less - 2 * here + more
        by = (less - more) / (2 * bend) if bend > 0 else float(np.sign(less - more))
        place = _moved(place, axis, step * min(max(by, -1.0), 1.0))
    return place


def _unit(channels: Float[np.ndarray, "n c k"]) -> Float[np.ndarray, "n ck"]:
    """Each channel less its mean, all of them together of length 1."""
    flat = (channels - channels.mean(axis=-1, keepdims=True)).reshape(len(channels), -1)
    norm = np.linalg.norm(flat, axis=-1, keepdims=True)
    return flat / np.maximum(norm, np.finfo(np.float32).tiny)


def _resized(image: Float32[np.ndarray, "n n 3"], size: int) -> Float32[np.ndarray, "m m 3"]:
    """At another size, channel by channel."""
    if len(image) == size:
        return image
    planes = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
    small = [plane.resize((size, size), Image.Resampling.LANCZOS) for plane in planes]
    return np.stack([np.asarray(plane) for plane in small], axis=-1)


def _inside(place: Placement, size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The rows and the columns of a whole that a part fills all of, from and to."""
    near, half = 1e-6, place.side / 2  # what lies on an edge but for rounding
    rows, columns = (
        (int(np.ceil((middle - half) * size - near)), int(np.floor((middle + half) * size + near)))
        for middle in place[:2]
    )
    return rows, columns
