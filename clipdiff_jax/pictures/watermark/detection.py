"""Finding a watermark: pictures go back to noise, in which the key's pattern is looked for.

A picture that was cut is not where the pattern expects it. `search` looks for where in the whole it
lies (`placement`), inverts it there, and leaves out the noise of what is not known. Of models of
which nothing is known about where they draw what, it is tried in the middle at several scales, and
where it lies is a phase of the pattern. Both are done with the mirrored picture too. The p-value is
that of the best of so many tries, times their number (Bonferroni).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Complex128, Float32, Float64, Int, UInt8

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.progress import counter, watched
from clipdiff_jax.data.images import Pictures, read_levels
from clipdiff_jax.data.transforms import square, to_float
from clipdiff_jax.diffusion.tree_ring import (
    Band,
    Direction,
    Mask,
    along,
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
from clipdiff_jax.pictures.watermark.placement import (
    SMALLEST,
    Levels,
    Placement,
    Square,
    centred,
    covered,
    likeliest,
    placed,
)
from clipdiff_jax.pixel.model import Classes

logger = logging.getLogger(__name__)
STEPS = 25  # where neither the call nor the key says
THRESHOLD = 1e-4  # of p, below which a picture counts as marked
SCALES = (15 / 16, 7 / 8, 13 / 16, SMALLEST)  # of the whole, tried where places are not known
LEVELS = (0.05, 0.01, 0.001, 1e-4)  # at which false positives are counted


class Look(NamedTuple):
    """What pictures are taken for: each its placement, and how far from there it may lie either
    way, as a share of the whole."""

    places: list[Placement]
    slack: float = 0.0


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
      search: also for parts of 3/4 of the whole and more, and mirrored. Of a pixel model it costs
        four inversions a picture and about a hundred evaluations more, of others ten inversions.
      steps: of the inversion; the key's where None, or 25.
      classes: of a pixel model that has them.
      batch: pictures inverted at a time. progress: whether bars are shown, see `core.progress`.

    Warns of pictures with less than half of the model's pixels a side. Raises `ValueError` where
    the model's noise lacks the key's channel or radius, or the sizes of both differ.
    """
    way = inverter(model, _steps(mark, steps), size=mark.size, classes=classes)
    pictures = read_levels(images)
    for one in pictures:
        _warn_of_small(one, way.size)
    found: list[list[Detection]] = []
    tries = 0
    for look in _looks(pictures, way, search, batch):
        each = list(zip(pictures, look.places, strict=True))
        noise = invert_all(way, [_whole(one, place, way.size) for one, place in each], batch)
        known = [covered(place, noise.shape[1]) for place in look.places]
        slack = int(np.ceil(look.slack * noise.shape[1]))
        shifts = shifts_within((slack, slack))
        c, p = _scores(noise * np.stack(known)[..., None], mark, way.home, shifts)
        tries += len(shifts)
        best = zip(range(len(c)), c.argmax(axis=1), look.places, strict=True)
        found.append(
            [Detection(float(p[i, t]), float(c[i, t]), place.name) for i, t, place in best]
        )
    likeliest_of = [min(each, key=lambda one: one.p) for each in zip(*found, strict=True)]
    return [one._replace(p=min(1.0, one.p * tries)) for one in likeliest_of]


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
    pictures = read_levels(images)
    for one in pictures:
        _warn_of_small(one, way.size)
    noise = invert_all(way, [square(one, way.size) for one in pictures], batch)
    fields = {name: getattr(mark, name) for name in ("pattern", "channel", "radius", "inner")}
    return calibration(noise, [Key.new(**fields) for _ in range(keys)], way.home)


def calibration(
    noise: Float32[np.ndarray, "b h w c"], keys: Sequence[Key], home: Home
) -> Calibration:
    """`calibrate` of pictures that are noise already, by these keys."""
    height, width = noise.shape[1:3]
    # Keys of one kind share their place, so that noise is transformed once.
    seen: dict[tuple[Direction, Band], tuple[Complex128[np.ndarray, "b n"], Mask]] = {}
    found = []
    for key in keys:
        direction, band = place = key.place(noise.shape[1:], home)
        if place not in seen:
            half = half_disc(height, width, band)
            seen[place] = spectrum(along(noise, direction), half), half
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
    direction, band = mark.place(noise.shape[1:], home)
    w = key_pattern(mark.secret, mark.pattern, height, width, band)
    half = half_disc(height, width, band)
    c = correlations(along(noise, direction), w, half, shifts)
    return c, p_values(c, half)


def _steps(mark: Key, steps: int | None) -> int:
    """Of an inversion: those asked for, else the key's."""
    chosen = STEPS if mark.steps is None else mark.steps
    return chosen if steps is None else whole_number("steps", steps, low=1)


def _looks(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], way: Inverter, search: bool, batch: int
) -> list[Look]:
    """What the pictures are taken for: what they are, or all that a search tries."""
    turns = (False, True) if search else (False,)
    looks = [Look([centred(1.0, turned)] * len(pictures)) for turned in turns]
    if not search:
        return looks
    if way.expected is not None:
        parts, expected = [_middle(one) for one in pictures], way.expected(batch)
        starts = range(0, len(parts), batch)  # of a part there are dozens of wholes
        for turned in turns:
            found = (likeliest(parts[i : i + batch], expected, turned) for i in starts)
            looks.append(Look([place for some in found for place in some]))
        return looks
    for scale in SCALES:
        middles = ([centred(scale, turned)] * len(pictures) for turned in turns)
        looks += [Look(places, (1 - scale) / 2) for places in middles]
    return looks


def _whole(image: UInt8[np.ndarray, "h w 3"], place: Placement, size: int) -> Levels:
    """The square picture that one is taken for."""
    if place.side < 1:
        return placed(_middle(image), place, size)
    same = square(image, size)
    return same[:, ::-1] if place.mirrored else same


def _middle(image: UInt8[np.ndarray, "h w 3"]) -> Square:
    """The middle square, of as many pixels as there are."""
    return square(image, min(image.shape[:2]))


def _warn_of_small(image: UInt8[np.ndarray, "h w 3"], size: int) -> None:
    height, width = image.shape[:2]
    if min(height, width) < size / 2:
        logger.warning(
            "a picture of %dx%d pixels is less than half of the model's %d: what is left of a "
            "watermark may not be enough", width, height, size,
        )  # fmt: skip
