"""What is to be where: regions of a picture with prompts of their own, as arrays.

A region is brought to each resolution by area from what the user gave, never from another
resolution: a place is inside if at least half of it is covered, and the place that is covered most
is always inside, so that nothing small is lost on the way down.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

from clipdiff_jax.core.checks import check_number
from clipdiff_jax.core.request import Number
from clipdiff_jax.diffusion.collage import Parts, merge_ratios
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.requests import Collage
from clipdiff_jax.latent.steering.attention import Drop, Masked, Sides, attended_sides
from clipdiff_jax.latent.texts import Embedded

MOST_REGIONS = 16
SMALL = 1 / 64  # of the picture: a smaller region is hardly seen
SAME = 0.9  # regions of one prompt that share more than this of the smaller one are one by mistake
_BOX = ("left", "top", "right", "bottom")


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a picture and what it shows.

    Attributes:
      prompt: what is there.
      box: left, top, right and bottom as shares of the picture's sides; or
      mask: [H,W] of the picture's size, true or at least half where it is.
      weight: of its estimate among those of other regions where they overlap.
    """

    prompt: str
    box: tuple[Number, Number, Number, Number] | None = None
    mask: Bool[np.ndarray, "h w"] | Float[np.ndarray, "h w"] | None = None
    weight: Number = 1.0


def check_regions(regions: Sequence[Region], height: int, width: int, factor: int) -> None:
    """Raises `ValueError`, with a region's number and prompt, for what cannot be drawn in a picture
    of these sides; warns of what will hardly be seen."""
    if not regions:
        raise ValueError("there are no regions: give at least one, or call generate")
    if len(regions) > MOST_REGIONS:
        raise ValueError(f"{len(regions)} regions, expected at most {MOST_REGIONS}")
    for number, region in enumerate(regions, start=1):
        where = f"region {number} ('{region.prompt}')"
        if not isinstance(region.prompt, str) or not region.prompt.strip():
            raise ValueError(f"region {number} has no prompt: say what is there")
        if (region.box is None) == (region.mask is None):
            given = "neither" if region.box is None else "both"
            raise ValueError(f"{where} has {given} of box and mask, expected one")
        check_number(f"weight of {where}", region.weight, above=0)
        if region.box is not None:
            _check_box(where, region.box, height, width, factor)
        else:
            _check_mask(where, np.asarray(region.mask), height, width)
        share = float(coverage(region, 64, 64).mean())
        if share < SMALL:
            warnings.warn(f"{where} is {share:.1%} of the picture: little of it will be seen",
                          stacklevel=4)  # fmt: skip
    _warn_of_twins(regions)


def coverage(region: Region, height: int, width: int) -> Float[np.ndarray, "h w"]:
    """How much of each place of a map a region covers, from 0 to 1."""
    if region.box is not None:
        left, top, right, bottom = map(float, region.box)
        return np.outer(_overlap(top, bottom, height), _overlap(left, right, width))
    mask = (np.asarray(region.mask, np.float64) >= 0.5).astype(np.float64)
    rows, columns = _shares(mask.shape[0], height), _shares(mask.shape[1], width)
    return rows @ mask @ columns.T


def inside(region: Region, height: int, width: int) -> Bool[np.ndarray, "h w"]:
    """The places of a map that are a region's: at least half covered, or covered most."""
    covered = coverage(region, height, width)
    places = covered >= 0.5 - 1e-9
    places.flat[covered.argmax()] = True
    return places


def weights(regions: Sequence[Region], sides: Sides, of_scene: float) -> Float[np.ndarray, "n h w"]:
    """w_n m_n at the latents' sides, that of the scene first.

    Raises `ValueError` where the scene has no weight and some place is no region's.
    """
    rows = [region.weight * inside(region, *sides) for region in regions]
    stacked = np.stack([np.full(sides, of_scene), *rows]).astype(np.float32)
    bare = float((stacked.sum(axis=0) == 0).mean())
    if bare:
        raise ValueError(
            f"global_weight is 0 and {bare:.1%} of the picture is in no region: nothing is drawn "
            "there. Give a global_weight above 0, or a region for it"
        )
    return stacked


def arrange(
    denoiser: Denoiser,
    embed: Callable[[list[str]], Embedded],
    prompt: str,
    regions: Sequence[Region],
    request: Collage,
    sides: Sides,
    keys: Key[Array, " b"],
) -> Parts:
    """What the scene and its regions are for a picture of each key; the regions are checked.

    sides: of the latents.
    """
    count, drops = len(regions) + 1, bool(np.any(np.asarray(request.background_drop) > 0))
    shown = embed([prompt, *(region.prompt for region in regions)] + [""] * drops)
    own = shown.context[:count]
    outside = [shown.context[0], shown.context[count]] if drops else [shown.context[0]]
    context = jnp.concatenate([own, *(jnp.broadcast_to(o, own.shape) for o in outside)], axis=1)
    pooled = None if shown.pooled is None else shown.pooled[:count]
    scene = Embedded(context, pooled)
    conds: dict[str, Any] = {**denoiser.condition(scene, denoiser.time_ids(count, *sides))}
    conds["attention"] = Masked(
        {
            at: jnp.asarray([
                np.ones(at[0] * at[1], bool), *(inside(r, *at).ravel() for r in regions)
            ])
            for at in attended_sides(denoiser.config.unet, *sides)
        },
        None,
        sides,
    )  # fmt: skip
    ratios = merge_ratios(jnp.asarray(weights(regions, sides, float(request.global_weight))))
    parts = Parts(conds, ratios)
    parts = jax.tree.map(lambda a: jnp.broadcast_to(a, (len(keys), *a.shape)), parts)
    if drops:
        rows = len(keys), count
        rates = jnp.broadcast_to(jnp.asarray(request.background_drop, jnp.float32), rows)
        numbers = jnp.broadcast_to(jnp.arange(count), rows)
        drop = Drop(jnp.broadcast_to(keys[:, None], rows), numbers, rates)
        parts.conds["attention"] = Masked(parts.conds["attention"].inside, drop, sides)
    return parts


def null_of(null: dict[str, Array], parts: Parts) -> dict[str, Array | Masked]:
    """The null conditioning in the form of a collage's parts: its text is seen everywhere."""
    steering: Masked = parts.conds["attention"]
    batch, texts = len(null["context"]), 2 if steering.drop is None else 3
    everywhere = {
        at: jnp.ones((batch, places.shape[-1]), bool) for at, places in steering.inside.items()
    }
    drop = jax.tree.map(lambda a: a[:, 0], steering.drop)
    context = jnp.concatenate([null["context"]] * texts, axis=1)
    return {**null, "context": context, "attention": Masked(everywhere, drop, steering.sides)}


def _check_box(where: str, box: Sequence[Number], height: int, width: int, factor: int) -> None:
    if len(box) != len(_BOX):
        raise ValueError(f"{where} has a box of {len(box)} numbers, expected {', '.join(_BOX)}")
    for name, value in zip(_BOX, box, strict=True):
        check_number(f"{name} of {where}", value, low=0, high=1)
    left, top, right, bottom = map(float, box)
    for low, high, side, names in (
        (left, right, width, _BOX[::2]),
        (top, bottom, height, _BOX[1::2]),
    ):
        if high <= low:
            raise ValueError(f"{where} has {names[0]} {low:g} and {names[1]} {high:g}: it is empty")
        if (high - low) * side < factor - 1e-6:
            raise ValueError(
                f"{where} is {(high - low) * side:g} pixels from {names[0]} to {names[1]}, "
                f"expected at least {factor}, one place of the latents"
            )


def _check_mask(where: str, mask: np.ndarray, height: int, width: int) -> None:
    if mask.shape != (height, width):
        raise ValueError(
            f"{where} has a mask of {list(mask.shape)}, expected the picture's: [{height},{width}]"
        )
    if mask.dtype != bool and not np.issubdtype(mask.dtype, np.floating):
        raise TypeError(f"{where} has a mask of {mask.dtype}, expected booleans or floats, 0 to 1")
    if not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError(
            f"{where} has a mask with numbers from {mask.min():g} to {mask.max():g}, expected 0 "
            "to 1"
        )
    if not (mask >= 0.5).any():
        raise ValueError(f"{where} has a mask that is false everywhere")


def _warn_of_twins(regions: Sequence[Region]) -> None:
    covered = [coverage(region, 64, 64) for region in regions]
    for j, second in enumerate(regions):
        for i, first in enumerate(regions[:j]):
            shared = np.minimum(covered[i], covered[j]).sum()
            least = max(min(covered[i].sum(), covered[j].sum()), 1e-9)
            if first.prompt == second.prompt and shared / least > SAME:
                warnings.warn(
                    f"regions {i + 1} and {j + 1} have one prompt ('{first.prompt}') and are "
                    f"{shared / least:.0%} the same", stacklevel=5,
                )  # fmt: skip


def _overlap(low: float, high: float, count: int) -> Float[np.ndarray, " n"]:
    """How much of each of `count` equal parts of [0, 1] lies between two of its points."""
    edges = np.arange(count + 1) / count
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * count


def _shares(size: int, count: int) -> Float[np.ndarray, "n m"]:
    """Of each of `count` parts of a line, how much of it each of `size` parts is."""
    return np.stack([_overlap(i / size, (i + 1) / size, count) for i in range(size)], axis=1)
