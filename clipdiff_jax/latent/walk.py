"""From noise, or from a noised picture, to latents: one walk for every use of a latent model.

What differs between the uses is values, not programs: where the walk starts (`first` of `times`),
what guidance leads away from (`nulls`), what of the picture is known (`Blend`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.diffusion.collage import Parts, collage
from clipdiff_jax.diffusion.guidance import Contrast, instructed, text_guided
from clipdiff_jax.diffusion.prediction import Cond, Denoise, Target, match
from clipdiff_jax.diffusion.sampler import Steps, steps_of
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.latent.steering.binding import Maps, Moves, moved

# (steps taken, pictures of what the model now thinks comes out, [B,H,W,3] in [-1, 1]) -> ignored
OnStep = Callable[[int, Float[Array, "b h w 3"]], object]
Show = Callable[[Float[Array, "b h w c"]], Float[Array, "b i j 3"]]  # latents -> pictures


class Blend(NamedTuple):
    """What of latents is known: where `mask` is 0 they are `known`, under `noise` on the way."""

    mask: Float[Array, "b h w 1"]
    known: Float[Array, "b h w c"]
    noise: Float[Array, "b h w c"]


class Walk(NamedTuple):
    """A walk as arrays.

    Attributes:
      times: the grid.
      first: index of the time at which it starts; of the host, so that a traced walk is one scan.
      eta: of DDIM.
      rows: what has a leading axis of pictures, see `Rows`.
    """

    times: Int[Array | np.ndarray, " steps_plus_1"]
    first: Int[Array | np.ndarray, ""]
    eta: Float[Array, "..."]
    rows: "Rows"


class Rows(NamedTuple):
    """What each picture of a walk has.

    Attributes:
      x: the latents at the first time.
      keys: of what the step rule draws.
      cond: see `Denoiser.condition`; of a layout `diffusion.collage.Parts`.
      nulls: what guidance leads away from: without text; of InstructPix2Pix also without picture.
      guidance, image_guidance, rescale: see `latent.requests`; `image_guidance` is None with one
        of `nulls`.
      blend: see `Blend`; None where nothing is known.
      moves: what x is moved by before steps, see `steering.binding`; None leaves it.
    """

    x: Float[Array, "b h w c"]
    keys: Key[Array, " b"]
    cond: Cond
    nulls: tuple[Cond, ...]
    guidance: Float[Array, " b"]
    rescale: Float[Array, " b"]
    image_guidance: Float[Array, " b"] | None = None
    blend: Blend | None = None
    moves: Moves | None = None


def steps(
    denoise: Denoise,
    schedule: NoiseSchedule,
    target: Target,
    walk: Walk,
    sampler: Sampler,
    maps: Maps,
) -> Steps:
    """The walk taken apart, guided, moved and blended; to be traced.

    maps: of the network, for `Rows.moves`.
    """
    rows = walk.rows
    contrast = Contrast(rows.rescale, schedule, target)
    if isinstance(rows.cond, Parts):
        guided = collage(denoise, rows.nulls[0], rows.guidance, contrast)
    elif rows.image_guidance is None:
        guided = text_guided(denoise, rows.nulls[0], rows.guidance, contrast)
    else:
        image, nothing = rows.nulls
        guided = instructed(denoise, (image, nothing), rows.guidance, rows.image_guidance, contrast)
    rule = make_step(sampler, schedule, StepOptions(walk.eta))
    taken = steps_of(guided, rule, walk.times, rows.x, rows.cond, rows.keys)
    body = taken.body
    if rows.moves is not None:
        body = _moving(body, maps, rows.moves, rows.cond, len(walk.times) - 1)
    if rows.blend is None:
        return taken._replace(body=body)
    blend, end = rows.blend, taken.inputs[1][-1]

    def blended(carry: Any, inputs: Any) -> tuple[Any, Any]:
        (memory, x), trace = body(carry, inputs)
        x = _blend(schedule, blend, x, inputs[1], inputs[1] == end)
        return (memory, x), trace._replace(x=x)

    return taken._replace(body=blended)


def _moving(body: Any, maps: Maps, moves: Moves, cond: Cond, count: int) -> Any:
    """The body of a walk of `count` steps that moves x before each."""

    def after_move(carry: Any, inputs: Any) -> tuple[Any, Any]:
        (memory, x), (t, _, index, _) = carry, inputs
        return body((memory, moved(maps, moves, x, t, (index, count), cond)), inputs)

    return after_move


def in_batches(
    paint: Callable[[Rows], Float[Array, "b i j d"]], rows: Rows, size: int | None
) -> Float[Array, "n i j d"]:
    """`paint` of so many rows at a time, the last of them filled up; None for all at once."""
    count = len(rows.x)
    if size is None or size >= count:
        return paint(rows)
    parts = []
    for indices, new in filled_batches(np.arange(count), size):
        chosen = jax.tree.map(lambda leaf, at=indices: leaf[at], rows)
        parts.append(paint(chosen)[:new])
    return jnp.concatenate(parts)


def _blend(
    schedule: NoiseSchedule, blend: Blend, x: Array, t: Int[Array, ""], is_last: Array
) -> Array:
    """x where the mask is 1, and the known latents under their noise at t where it is 0; without
    noise at the end of the walk, also of one that ends at time 0."""
    alpha = jnp.where(is_last, 1.0, match(schedule.alpha(t), x))
    sigma = jnp.where(is_last, 0.0, match(schedule.sigma(t), x))
    known = alpha * blend.known + sigma * blend.noise
    return blend.mask * x + (1 - blend.mask) * known
