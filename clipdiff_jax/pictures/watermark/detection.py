"""Finding a watermark: pictures go back to noise, in which the key's pattern is looked for.

A picture that was cut is not where the pattern expects it. `search` tries it as a smaller part of a
whole picture, at every place, and mirrored. Each part costs one inversion: where in the whole it
lies is a phase of the pattern, and looked for afterwards. The p-value is then that of the best of
so many tries, times their number (Bonferroni).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float32, Float64, Int, UInt8
from PIL import Image

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.progress import counter, watched
from clipdiff_jax.data.images import Pictures, read_levels
from clipdiff_jax.data.transforms import square, to_float
from clipdiff_jax.diffusion.tree_ring import (
    Band,
    Mask,
    correlated,
    correlations,
    half_disc,
    key_pattern,
    p_values,
    shifts_within,
    spectrum,
)
from clipdiff_jax.pictures.watermark.inverters import Inverter, Model, inverter
from clipdiff_jax.pictures.watermark.key import Home, Key
from clipdiff_jax.pixel.model import Classes

logger = logging.getLogger(__name__)
STEPS = 25  # where neither the call nor the key says
THRESHOLD = 1e-4  # of p, below which a picture counts as marked
SCALES = (1.0, 15 / 16, 7 / 8, 13 / 16, 3 / 4)  # of the whole, that a search takes a picture for
LEVELS = (0.05, 0.01, 0.001, 1e-4)  # at which false positives are counted
Levels = UInt8[np.ndarray, "s s 3"]


class Detection(NamedTuple):
    """What is found in a picture.

    p: how often pictures without the mark look as marked; `marked`: whether that is below 1e-4.
    correlation: of the noise with the key's pattern, from -1 to 1. transform: what the picture was
    taken for.
    """

    p: float
    correlation: float
    transform: str = "as it is"

    @property
    def marked(self) -> bool:
        return self.p < THRESHOLD


@dataclass(frozen=True)
class Calibration:
    """How often pictures without a mark look as marked, by keys drawn at random.

    Attributes:
      levels: thresholds of p.
      rates: share of all pictures and keys below each; those levels, if the p-values are right.
      worst: the same for the key that is worst at each.
      least: the smallest p of all.
      keys, pictures: how many.
    """

    levels: tuple[float, ...]
    rates: tuple[float, ...]
    worst: tuple[float, ...]
    least: float
    keys: int
    pictures: int


@watched
def detect(
    images: Pictures,
    model: Model,
    mark: Key,
    *,
    search: bool = False,
    steps: int | None = None,
    classes: Classes = None,
    batch: int = 16,
) -> list[Detection]:
    """Looks for a key's pattern in each picture.

    Args:
      images: of any size, see `data.images.read_levels`; their middle squares are looked at.
      model: what drew them, or was meant to.
      mark: the key.
      search: also for parts of 3/4 of the whole and more, and mirrored: five inversions a picture.
      steps: of the inversion; the key's where None, or 25.
      classes: of a pixel model that has them.
      batch: pictures inverted at a time. progress: whether bars are shown, see `core.progress`.

    Warns of pictures with less than half of the model's pixels a side. Raises `ValueError` where
    the model's noise lacks the key's channel or radius, or the sizes of both differ.
    """
    way = inverter(model, _steps(mark, steps), size=mark.size, classes=classes)
    squares = [_square(one, way.size) for one in read_levels(images)]
    scales = SCALES if search else SCALES[:1]
    found: list[list[Detection]] = []
    tries = 0
    for scale in scales:
        noise = invert_all(way, [_part(one, scale) for one in squares], batch)
        shifts = _shifts(noise.shape[1], scale)
        for mirrored in (False, True) if search else (False,):
            moved = noise[:, :, ::-1] if mirrored else noise
            c, p = _scores(moved, mark, way.home, shifts)
            tries += len(shifts)
            best = zip(range(len(c)), c.argmax(axis=1), strict=True)
            name = _named(scale, mirrored)
            found.append([Detection(float(p[i, t]), float(c[i, t]), name) for i, t in best])
    likeliest = [min(each, key=lambda one: one.p) for each in zip(*found, strict=True)]
    return [one._replace(p=min(1.0, one.p * tries)) for one in likeliest]


@watched
def calibrate(
    images: Pictures,
    model: Model,
    mark: Key,
    *,
    keys: int = 1000,
    steps: int | None = None,
    classes: Classes = None,
    batch: int = 16,
) -> Calibration:
    """How often keys like `mark`, of the same pattern, channel and frequencies, are found in
    pictures that have no mark. `detect` says what the arguments are."""
    keys = whole_number("keys", keys, low=1)
    way = inverter(model, _steps(mark, steps), size=mark.size, classes=classes)
    noise = invert_all(way, [_square(one, way.size) for one in read_levels(images)], batch)
    fields = {name: getattr(mark, name) for name in ("pattern", "channel", "radius", "inner")}
    return calibration(noise, [Key.new(**fields) for _ in range(keys)], way.home)


def calibration(
    noise: Float32[np.ndarray, "b h w c"], keys: Sequence[Key], home: Home
) -> Calibration:
    """`calibrate` of pictures that are noise already, by these keys."""
    height, width = noise.shape[1:3]
    # Keys of one kind share their place, so that noise is transformed once.
    seen: dict[tuple[int, Band], tuple[Complex128[np.ndarray, "b n"], Mask]] = {}
    found = []
    for key in keys:
        channel, band = place = key.place(noise.shape[1:], home)
        if place not in seen:
            half = half_disc(height, width, band)
            seen[place] = spectrum(noise[..., channel], half), half
        y, half = seen[place]
        w = key_pattern(key.secret, key.pattern, height, width, band)
        found.append(p_values(correlated(y, w, half)[:, 0], half))
    p = np.stack(found)
    shares = [(p < level).mean(axis=1) for level in LEVELS]
    return Calibration(
        levels=LEVELS,
        rates=tuple(float(share.mean()) for share in shares),
        worst=tuple(float(share.max()) for share in shares),
        least=float(p.min()),
        keys=len(keys),
        pictures=len(noise),
    )


def invert_all(
    way: Inverter, squares: Sequence[Levels], batch: int
) -> Float32[np.ndarray, "b h w c"]:
    """The noise of square pictures of the inverter's size, so many at a time."""
    size = min(batch, len(squares))
    parts = []
    with counter("pictures to invert", total=len(squares), unit="img") as told:
        for some, count in filled_batches(np.stack(squares), size):
            parts.append(np.asarray(way.run(to_float(some)), np.float32)[:count])
            told.update(count)
    return np.concatenate(parts)


def _scores(
    noise: Float32[np.ndarray, "b h w c"],
    mark: Key,
    home: Home,
    shifts: Int[np.ndarray, "t 2"],
) -> tuple[Float64[np.ndarray, "b t"], Float64[np.ndarray, "b t"]]:
    height, width = noise.shape[1:3]
    channel, band = mark.place(noise.shape[1:], home)
    w = key_pattern(mark.secret, mark.pattern, height, width, band)
    half = half_disc(height, width, band)
    c = correlations(noise[..., channel], w, half, shifts)
    return c, p_values(c, half)


def _steps(mark: Key, steps: int | None) -> int:
    """Of an inversion: those asked for, else the key's."""
    chosen = STEPS if mark.steps is None else mark.steps
    return chosen if steps is None else whole_number("steps", steps, low=1)


def _shifts(side: int, scale: float) -> Int[np.ndarray, "t 2"]:
    """Where in the whole the middle of a part may be: cells of noise from the whole's middle."""
    slack = int(np.ceil(side * (1 - scale) / 2))
    return shifts_within((slack, slack))


def _named(scale: float, mirrored: bool) -> str:
    part = "as it is" if scale == 1 else f"{scale:g} of the whole"
    return f"{part}, mirrored" if mirrored else part


def _square(image: UInt8[np.ndarray, "h w 3"], size: int) -> Levels:
    """The middle square at the size of the model. Warns of a picture of far less pixels."""
    height, width = image.shape[:2]
    if min(height, width) < size / 2:
        logger.warning(
            "a picture of %dx%d pixels is less than half of the model's %d: what is left of a "
            "watermark may not be enough", width, height, size,
        )  # fmt: skip
    return square(image, size)


def _part(image: Levels, scale: float) -> Levels:
    """The picture as the middle of a whole of which it is a part; around it its edge goes on."""
    size = len(image)
    side = round(size * scale)
    if side == size:
        return image
    small = Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS)
    before = (size - side) // 2
    after = size - side - before
    return np.pad(np.asarray(small), ((before, after), (before, after), (0, 0)), mode="edge")
