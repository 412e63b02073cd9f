"""A picture changed by changing its prompt: the maps of attention stay, and so do shape and place.

Prompt-to-prompt (Hertz et al. 2022, arXiv 2208.01626) on a picture of the user's. Its latents are
inverted with the source prompt; then source and target are walked down side by side, and for the
first steps the target attends as the source does (eq. 1 of `alignment`; self-attention too, in maps
of at most half the latents' side). Guidance leads the inversion astray, which is mended by

- direct inversion (Ju et al. 2023, arXiv 2310.01506): after every step the source is put back to
  where the inversion was, so that the target attends to the picture as it is;
- negative-prompt inversion (Miyake et al. 2023, arXiv 2305.16807): guidance leads away from the
  source prompt, so that guided or not the source walks one way.

A target whose prompt is the source's is the source: it comes out as it went in.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.diffusion.guidance import towards
from clipdiff_jax.diffusion.inversion import upwards
from clipdiff_jax.diffusion.prediction import Prediction, from_output, match
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.steering.alignment import Alignment
from clipdiff_jax.latent.steering.attention import Sides, map_sides, mean_map, softmax_maps
from clipdiff_jax.models.spatial_transformer import Attention, AttentionSite, Kept


class Blending(NamedTuple):
    """Where a target may differ: around words of both prompts, marked in rows of tokens."""

    source: Float[Array | np.ndarray, "b s"]
    target: Float[Array | np.ndarray, "b s"]


class Exchange(NamedTuple):
    """What is carried over and for how long, of each picture.

    Attributes:
      alignment: of each pair of prompts.
      cross_steps, self_steps: of how many steps from the noisiest on maps are the source's.
      blend_from: the first step that is blended. blend_above: where the words' map, of at most 1,
        is above it.
      words: None blends nothing.
    """

    alignment: Alignment
    cross_steps: Float[Array | np.ndarray, " b"]
    self_steps: Float[Array | np.ndarray, " b"]
    blend_from: Float[Array | np.ndarray, " b"]
    blend_above: Float[Array | np.ndarray, " b"]
    words: Blending | None = None


class Job(NamedTuple):
    """An edit as arrays, a row for each picture.

    Attributes:
      latents: of the pictures.
      source, target, null: the conditioning of the prompts, and what guidance leads away from.
      guidance: its scale.
      exchange: see there.
      restore: whether the source is put back after every step (direct inversion).
      same: whether the target's prompt is the source's.
    """

    latents: Float[Array, "b h w c"]
    source: dict[str, Array]
    target: dict[str, Array]
    null: dict[str, Array]
    guidance: Float[Array, " b"]
    exchange: Exchange
    restore: Bool[Array | np.ndarray, " b"]
    same: Bool[Array | np.ndarray, " b"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Exchanged:
    """The steering of one step: rows are sources, targets, and as many of each without text.

    `cross`, `own`: whether maps of the context, and of the pixels, are the source's.
    """

    alignment: Alignment
    cross: Bool[Array, " b"]
    own: Bool[Array, " b"]
    largest: int = field(metadata={"static": True})
    kept: Sides | None = field(metadata={"static": True})

    def at(self, t: Int[Array, " b"]) -> Attention:
        del t
        moves, shared, weights = (jnp.asarray(one) for one in self.alignment)
        batch = len(moves)

        def attention(site: AttentionSite, q: Array, k: Array, v: Array) -> Array | Kept | None:
            if site.kind == "self" and site.height * site.width > self.largest:
                return None
            maps = softmax_maps(q, k)
            source, target = maps[:batch], maps[batch : 2 * batch]
            if site.kind == "self":
                changed = jnp.where(self.own[:, None, None, None], source, target)
            else:
                moved = jnp.einsum(
                    "bhts,bsj->bhtj", source, moves, precision=jax.lax.Precision.HIGHEST
                )
                a = jnp.where(self.cross[:, None], shared, 0.0)[:, None, None]
                changed = (a * moved + (1 - a) * target) * weights[:, None, None]
            maps = jnp.concatenate([source, changed, maps[2 * batch :]])
            out = jnp.einsum("bhts,bshd->bthd", maps.astype(v.dtype), v)
            if site.kind == "self" or (site.height, site.width) != self.kept:
                return out
            return Kept(out, jnp.mean(maps[: 2 * batch], axis=1))

        return attention


def prompt_to_prompt(
    denoiser: Denoiser, times: Int[Array | np.ndarray, " n"], job: Job, *, blended: bool
) -> tuple[Float[Array, "b h w c"], Float[Array, "b h w c"]]:
    """(the targets' latents, the sources' as they were walked) at the end of a grid.

    blended: whether `job.exchange.words` are blended.
    """
    times = jnp.asarray(times, jnp.int32)
    path = _inverted(denoiser, times[::-1], job.latents, job.source)
    return _exchanged(denoiser, times, path, job, blended=blended)


@stepping("inverting", keep=True)
def _inverted(denoiser: Denoiser, times: Array, latents: Array, source: dict[str, Array]) -> Steps:
    up = upwards(denoiser.denoise, denoiser.config.schedule, times, latents, source, label="next")
    return up._replace(end=lambda _, path: path)


@stepping("editing", static_argnames="blended")
def _exchanged(denoiser: Denoiser, times: Array, path: Array, job: Job, *, blended: bool) -> Steps:
    config, schedule, batch = denoiser.config, denoiser.config.schedule, len(job.latents)
    sides = job.latents.shape[1], job.latents.shape[2]
    top = path[-1]
    stored = jnp.concatenate([path[:-1][::-1], job.latents[None]])  # at times[1:]
    cond = _joined(job.source, job.target, job.null, job.null)
    step, exchange = ddim(schedule), job.exchange
    kept = map_sides(config.unet, *sides) if blended else None

    def body(carry: Any, inputs: Any) -> tuple[Any, None]:
        x, seen = carry  # sources, then targets
        t, t_next, index, at_next = inputs
        steering = _Exchanged(
            exchange.alignment,
            index < exchange.cross_steps,
            index < exchange.self_steps,
            max(sides[0] * sides[1] // 4, 1),
            kept,
        )
        every = jnp.broadcast_to(t, (4 * batch,))
        output, maps = denoiser.apply_kept(
            jnp.concatenate([x, x]), every, cond | {"attention": steering}
        )
        both = jnp.concatenate([x, x])
        out = from_output(config.prediction, schedule, both, every, output.astype(jnp.float32))
        texts, nulls = (Prediction(out.x0[of], out.eps[of]) for of in _halves(batch))
        guided = towards(nulls, texts, jnp.tile(job.guidance, 2), x)
        moved = step(x, guided, t, t_next, None)
        source, target = moved[:batch], moved[batch:]
        source = jnp.where(match(jnp.asarray(job.restore), x), at_next, source)
        if blended:
            assert exchange.words is not None
            seen = seen + mean_map(maps)
            mask = _blend_mask(seen, exchange.words, exchange.blend_above, kept or sides, sides)
            mask = jnp.where(match(index >= exchange.blend_from, x), mask, 1.0)
            target = source + mask * (target - source)
        target = jnp.where(match(jnp.asarray(job.same), x), source, target)
        return (jnp.concatenate([source, target]), seen), None

    length = job.source["context"].shape[1]
    seen = jnp.zeros((2 * batch, kept[0] * kept[1], length)) if kept else jnp.zeros(())
    inputs = times[:-1], times[1:], jnp.arange(len(times) - 1), stored
    start = (jnp.concatenate([top, top]), seen)
    return Steps(start, body, inputs, lambda carry, _: (carry[0][batch:], carry[0][:batch]))


def _joined(*conds: dict[str, Array]) -> dict[str, Any]:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *conds)


def _halves(batch: int) -> tuple[slice, slice]:
    return slice(0, 2 * batch), slice(2 * batch, 4 * batch)


def _blend_mask(
    seen: Float[Array, "n t s"],
    words: Blending,
    above: Float[Array | np.ndarray, " b"],
    of_map: Sides,
    sides: Sides,
) -> Float[Array, "b h w 1"]:
    """1 where either prompt's words are: where their map, a place wider, is high enough."""
    marks = jnp.concatenate([jnp.asarray(words.source), jnp.asarray(words.target)])
    maps = jnp.einsum("nts,ns->nt", seen, marks).reshape(-1, *of_map)
    wide = jax.lax.reduce_window(maps, -jnp.inf, jax.lax.max, (1, 3, 3), (1, 1, 1), "SAME")
    rows, columns = (
        jnp.arange(full) * part // full for full, part in zip(sides, of_map, strict=True)
    )
    wide = wide[:, rows][:, :, columns]
    wide = wide / jnp.maximum(wide.max(axis=(1, 2), keepdims=True), 1e-12)
    source, target = jnp.split(wide > jnp.tile(jnp.asarray(above), 2)[:, None, None], 2)
    return (source | target).astype(jnp.float32)[..., None]
