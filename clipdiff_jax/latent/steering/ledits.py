"""Concepts added to a picture or taken away where they are, by noise that leads back to it.

LEDITS++ (Brack et al. 2023, arXiv 2311.16711). The picture's latents are noised to each time t of
the walk independently; of every step of DDIM with eta 1 what is missing to the next of them,

    r_t = x_s - mu(x_t, eps(x_t)),                                                          (1)

is kept (edit-friendly inversion, Huberman-Spiegelglas et al. 2023, arXiv 2304.06140), so that the
walk x_s = mu(x_t, eps) + r_t leads back to the picture, to rounding and whatever the network says.
An edit changes eps alone:

    eps = eps_0 + sum_c g_c M_c (eps_c - eps_0)                                             (2)

with M_c the places where the map of the concept's words is among its highest, and of those, once
the noise is below four fifths, the places where the concept changes most.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.diffusion.prediction import Prediction, from_eps, from_output
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.schedule import NoiseSchedule, posterior_variance
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.steering.attention import Sides, Watched, map_sides, mean_map, smoothed

MASKED_FROM = 0.8  # of the schedule: above, where a concept changes most is not yet known


class Concepts(NamedTuple):
    """What is added or taken away, concept by concept.

    Attributes:
      conds: leaves [C, B, ...]. words: [C, B, S], 1 at the tokens of the concept's text.
      scales: g of eq. 2, negative to take away. warmup: steps before concepts act.
      threshold: the share of the picture that a concept leaves as it is.
    """

    conds: dict[str, Array]
    words: Float[Array | np.ndarray, "c b s"]
    scales: Float[Array | np.ndarray, " c"]
    warmup: Int[Array | np.ndarray, ""]
    threshold: Float[Array | np.ndarray, ""]


class Job(NamedTuple):
    """An edit as arrays.

    Attributes:
      latents: of the pictures. noise: of each time of the walk but the last.
      source, null: the conditioning of the picture's prompt and of none.
      source_guidance: of the inversion; 0 inverts without a prompt.
      concepts: None edits nothing.
    """

    latents: Float[Array, "b h w c"]
    noise: Float[Array, "n b h w c"]
    source: dict[str, Array]
    null: dict[str, Array]
    source_guidance: Float[Array | np.ndarray, ""]
    concepts: Concepts | None


def ledits(
    denoiser: Denoiser, times: Int[Array | np.ndarray, " n_plus_1"], job: Job, *, masked: bool
) -> Float[Array, "b h w c"]:
    """The latents at the end of a grid. masked: whether maps of words say where a concept acts."""
    times = jnp.asarray(times, jnp.int32)
    noised = _noised(denoiser, times, job)
    missing = _back(denoiser, times, noised, job)
    return _down(denoiser, times, noised[0], missing, job, masked=masked)


@jax.jit
def _noised(denoiser: Denoiser, times: Array, job: Job) -> Float[Array, "n b h w c"]:
    schedule, t = denoiser.config.schedule, times[:-1][:, None, None, None, None]
    return schedule.alpha(t) * job.latents + schedule.sigma(t) * job.noise


@stepping("inverting", keep=True)
def _back(denoiser: Denoiser, times: Array, noised: Array, job: Job) -> Steps:
    schedule = denoiser.config.schedule
    wanted = jnp.concatenate([noised[1:], job.latents[None]])

    def back(x: Array, inputs: Any) -> tuple[Array, Array]:
        (t, t_next), x_next = inputs
        texts, nulls = _outputs(denoiser, x, t, [job.source, job.null])
        eps = nulls.eps + job.source_guidance * (texts.eps - nulls.eps)
        mean = _mean(schedule, x, t, t_next, eps)
        missing = x_next - mean
        return mean + missing, missing

    pairs = times[:-1], times[1:]
    return Steps(noised[0], back, (pairs, wanted), lambda _, missing: missing)


@stepping("editing", static_argnames="masked")
def _down(
    denoiser: Denoiser,
    times: Array,
    start: Array,
    missing: Array,
    job: Job,
    *,
    masked: bool,
) -> Steps:
    schedule = denoiser.config.schedule

    def down(x: Array, inputs: Any) -> tuple[Array, None]:
        (t, t_next), rest, index = inputs
        eps = _edited(denoiser, x, t, index, job, masked)
        return _mean(schedule, x, t, t_next, eps) + rest, None

    pairs = times[:-1], times[1:]
    return Steps(start, down, (pairs, missing, jnp.arange(len(times) - 1)))


def _mean(schedule: NoiseSchedule, x: Array, t: Array, t_next: Array, eps: Array) -> Array:
    """Where DDIM with eta 1 leads but for its noise."""
    x0 = from_eps(schedule, x, t, eps).x0
    sigma, variance = schedule.sigma(t_next), posterior_variance(schedule, t, t_next)
    return schedule.alpha(t_next) * x0 + jnp.sqrt(jnp.maximum(sigma**2 - variance, 0)) * eps


def _outputs(
    denoiser: Denoiser, x: Array, t: Array, conds: list[dict[str, Array]]
) -> list[Prediction]:
    """The prediction under each conditioning."""
    batch = len(x)
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *conds)
    every = jnp.broadcast_to(t, (len(conds) * batch,))
    out = denoiser.denoise(jnp.concatenate([x] * len(conds)), every, joined)
    parts = [slice(i * batch, (i + 1) * batch) for i in range(len(conds))]
    return [Prediction(out.x0[part], out.eps[part]) for part in parts]


def _edited(
    denoiser: Denoiser, x: Array, t: Array, index: Array, job: Job, masked: bool
) -> Float[Array, "b h w c"]:
    """eps of eq. 2."""
    if job.concepts is None:
        return _outputs(denoiser, x, t, [job.null])[0].eps
    config, concepts = denoiser.config, job.concepts
    count, batch = concepts.words.shape[:2]
    sides, rows = (x.shape[1], x.shape[2]), (count + 1) * batch
    of_map = map_sides(config.unet, *sides, middle=False)
    conds = jax.tree.map(
        lambda null, each: jnp.concatenate([null[None], each]).reshape(rows, *null.shape[1:]),
        job.null,
        concepts.conds,
    )
    every, repeated = jnp.broadcast_to(t, (rows,)), jnp.concatenate([x] * (count + 1))
    steering: dict[str, Any] = {"attention": Watched(of_map, middle=False)} if masked else {}
    output, maps = denoiser.apply_kept(repeated, every, conds | steering)
    out = from_output(config.prediction, config.schedule, repeated, every, output)
    eps = out.eps.reshape(count + 1, *x.shape)
    change = jnp.asarray(concepts.scales)[:, None, None, None, None] * (eps[1:] - eps[0])
    most = jnp.abs(change).sum(axis=-1)
    acts = most >= _quantile(most, concepts.threshold)
    if masked:
        of_words = mean_map(maps)[batch:].reshape(count, batch, -1, concepts.words.shape[-1])
        seen = jnp.einsum("cbts,cbs->cbt", of_words, jnp.asarray(concepts.words))
        there = _places(seen.reshape(count, batch, *of_map), concepts.threshold, sides)
        known = t <= MASKED_FROM * config.schedule.num_steps
        acts = there & (acts | ~known)
    change = jnp.where(acts[..., None] & (index >= concepts.warmup), change, 0.0)
    return eps[0] + change.sum(axis=0)


def _places(
    maps: Float[Array, "c b i j"], threshold: Float[Array | np.ndarray, ""], sides: Sides
) -> Bool[Array, "c b h w"]:
    """Where smoothed maps are among their highest, at the latents' sides."""
    smooth = smoothed(maps)
    high = smooth >= _quantile(smooth, threshold)
    rows, columns = (
        jnp.arange(full) * part // full for full, part in zip(sides, maps.shape[2:], strict=True)
    )
    return high[..., rows, :][..., columns]


def _quantile(
    values: Float[Array, "c b h w"], share: Float[Array | np.ndarray, ""]
) -> Float[Array, "c b 1 1"]:
    flat = values.reshape(*values.shape[:2], -1)
    return jnp.quantile(flat, jnp.asarray(share), axis=-1)[..., None, None]
