"""Guidance: functions from denoisers to a denoiser.

At a fixed x_t, x0 and eps are affine in each other, so a combination whose weights sum to one may
be taken of both at once and still satisfies x_t = alpha x0 + sigma eps. Ratios, strengths and
scales may be traced arrays: changing them compiles nothing new.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.prediction import (
    Cond,
    Denoise,
    Prediction,
    Target,
    from_output,
    from_x0,
    match,
    to_target,
)
from clipdiff_jax.diffusion.schedule import NoiseSchedule

Ratios = Float[Array, " k"] | Sequence[float] | Callable[[Array], Array]


def mix(denoises: Sequence[Denoise], ratios: Ratios) -> Denoise:
    """eps = sum_i r_i eps_i with ratios normalised to sum 1 (DiffusionCLIP, eq. 13).

    ratios: [K], or a function of t that returns [K], for attributes that come in at different
        times.
    """
    if not callable(ratios) and len(ratios) != len(denoises):
        raise ValueError(f"{len(denoises)} denoisers need as many ratios, got {len(ratios)}")

    def denoise(x_t: Array, t: Array, cond: Cond) -> Prediction:
        r = jnp.asarray(ratios(t) if callable(ratios) else ratios, jnp.float32)
        r = r / jnp.sum(r)
        predictions = [one(x_t, t, cond) for one in denoises]
        x0 = sum(r[i] * p.x0 for i, p in enumerate(predictions))
        eps = sum(r[i] * p.eps for i, p in enumerate(predictions))
        return Prediction(jnp.asarray(x0), jnp.asarray(eps))

    return denoise


def strength(base: Denoise, edited: Denoise, g: float | Float[Array, "..."]) -> Denoise:
    """eps = g eps_edited + (1 - g) eps_base, the degree of change (DiffusionCLIP, section 4.3).

    g: scalar or [B]; 0 is the base model, 1 the edited one, and values beyond extrapolate. Where
        every g is 1 the base model is not evaluated (a run-time branch of the same program).
    """

    def denoise(x_t: Array, t: Array, cond: Cond) -> Prediction:
        b = edited(x_t, t, cond)._replace(log_variance_mix=None)

        def evaluate_base() -> Prediction:
            return base(x_t, t, cond)._replace(log_variance_mix=None)

        a = jax.lax.cond(jnp.all(jnp.asarray(g) == 1), lambda: b, evaluate_base)
        weight = match(jnp.asarray(g, jnp.float32), x_t)
        return Prediction(a.x0 + weight * (b.x0 - a.x0), a.eps + weight * (b.eps - a.eps))

    return denoise


def classifier_free(
    denoise: Denoise, null_cond: Cond, scale: float | Float[Array, "..."]
) -> Denoise:
    """eps = eps(null) + scale (eps(cond) - eps(null)), in one call on a doubled batch.

    Ho and Salimans 2022, arXiv 2207.12598, eq. 6 with scale = 1 + w: 1 is unguided. `null_cond`
    has the structure and shapes of cond; a learned variance is the conditional one's.
    """

    def guided(x_t: Array, t: Array, cond: Cond) -> Prediction:
        texts, nulls = _branches(denoise, x_t, t, (cond, null_cond))
        out = towards(nulls, texts, scale, x_t)
        return out._replace(log_variance_mix=texts.log_variance_mix)

    return guided


class Contrast(NamedTuple):
    """How much of the contrast that guidance adds is taken back, see `with_contrast_of`.

    share: phi, from 0 (none of it) to 1, scalar or [B]; may be traced. schedule, target: of the
    network.
    """

    share: float | Float[Array, "..."]
    schedule: NoiseSchedule
    target: Target


def with_contrast_of(
    text: Prediction,
    guided: Prediction,
    x_t: Float[Array, "b ..."],
    t: Int[Array, "..."],
    contrast: Contrast,
) -> Prediction:
    """F' = phi F std(F_text) / std(F) + (1 - phi) F, of the network's own target F.

    Lin et al. 2023, arXiv 2305.08891, eq. 15 and 16; std over all but the batch. text, guided: the
    predictions with the text alone and with guidance.
    """
    share, schedule, target = contrast
    wanted, output = (to_target(target, schedule, t, p.x0, p.eps) for p in (text, guided))
    axes = tuple(range(1, x_t.ndim))
    ratio = jnp.std(wanted, axis=axes) / jnp.maximum(jnp.std(output, axis=axes), 1e-12)
    share = jnp.asarray(share, jnp.float32)
    factor = match(share * ratio + (1 - share), x_t)
    return from_output(target, schedule, x_t, t, factor * output)


def text_guided(
    denoise: Denoise, null_cond: Cond, scale: float | Float[Array, "..."], contrast: Contrast
) -> Denoise:
    """`classifier_free`, with contrast taken back; where every scale is 1 only the conditional
    branch is evaluated (a run-time branch of the same program)."""

    def guided(x_t: Array, t: Array, cond: Cond) -> Prediction:
        def plain() -> Prediction:
            out = denoise(x_t, t, cond)
            return Prediction(out.x0, out.eps)

        def both() -> Prediction:
            texts, nulls = _branches(denoise, x_t, t, (cond, null_cond))
            out = towards(nulls, texts, scale, x_t)
            return with_contrast_of(texts, out, x_t, t, contrast)

        return jax.lax.cond(jnp.all(jnp.asarray(scale) == 1), plain, both)

    return guided


def instructed(
    denoise: Denoise,
    null_conds: tuple[Cond, Cond],
    scale: float | Float[Array, "..."],
    image_scale: float | Float[Array, "..."],
    contrast: Contrast,
) -> Denoise:
    """eps = eps(0, 0) + s_I (eps(I, 0) - eps(0, 0)) + s_T (eps(I, T) - eps(I, 0)).

    InstructPix2Pix, Brooks et al. 2022, arXiv 2211.09800, eq. 3. null_conds: with the picture and
    without text, and with neither. Where every scale is 1 the first branch alone is evaluated.
    """

    def guided(x_t: Array, t: Array, cond: Cond) -> Prediction:
        def plain() -> Prediction:
            out = denoise(x_t, t, cond)
            return Prediction(out.x0, out.eps)

        def all_three() -> Prediction:
            whole, image, nothing = _branches(denoise, x_t, t, (cond, *null_conds))
            out = towards(nothing, image, image_scale, x_t)
            change = towards(image, whole, scale, x_t)
            out = Prediction(out.x0 + change.x0 - image.x0, out.eps + change.eps - image.eps)
            return with_contrast_of(whole, out, x_t, t, contrast)

        ones = jnp.all(jnp.asarray(scale) == 1) & jnp.all(jnp.asarray(image_scale) == 1)
        return jax.lax.cond(ones, plain, all_three)

    return guided


def _branches(denoise: Denoise, x_t: Array, t: Array, conds: tuple[Cond, ...]) -> list[Prediction]:
    """The prediction under each conditioning, in one call on a batch of all."""
    count, batch = len(conds), x_t.shape[0]
    t = jnp.tile(jnp.broadcast_to(t, (batch,)), count)
    joined = jax.tree.map(lambda *parts: jnp.concatenate(parts), *conds)
    out = denoise(jnp.concatenate([x_t] * count), t, joined)
    parts = [slice(i * batch, (i + 1) * batch) for i in range(count)]
    return [jax.tree.map(lambda a, part=part: a[part], out) for part in parts]


def towards(
    start: Prediction, end: Prediction, scale: float | Float[Array, "..."], x_t: Array
) -> Prediction:
    """start + scale (end - start), without a learned variance; scale is one number, or one for each
    picture."""
    weight = match(jnp.asarray(scale, jnp.float32), x_t)
    return Prediction(
        start.x0 + weight * (end.x0 - start.x0), start.eps + weight * (end.eps - start.eps)
    )


def clip_x0(denoise: Denoise, schedule: NoiseSchedule, limit: float = 1.0) -> Denoise:
    """Clip x0 to [-limit, limit] and let eps follow. Not for inversion: it loses information."""

    def clipped(x_t: Array, t: Array, cond: Cond) -> Prediction:
        out = denoise(x_t, t, cond)
        x0 = jnp.clip(out.x0, -limit, limit)
        return from_x0(schedule, x_t, t, x0)._replace(log_variance_mix=out.log_variance_mix)

    return clipped


def dynamic_threshold(
    denoise: Denoise, schedule: NoiseSchedule, percentile: float | Float[Array, ""] = 99.5
) -> Denoise:
    """Clip x0 to each picture's `percentile` of |x0| where that exceeds 1, then divide by it.

    Saharia et al. 2022 (Imagen), arXiv 2205.11487, section 2.3.
    """

    def thresholded(x_t: Array, t: Array, cond: Cond) -> Prediction:
        out = denoise(x_t, t, cond)
        magnitude = jnp.abs(out.x0).reshape(out.x0.shape[0], -1)
        limit = match(jnp.maximum(jnp.percentile(magnitude, percentile, axis=1), 1.0), out.x0)
        x0 = jnp.clip(out.x0, -limit, limit) / limit
        return from_x0(schedule, x_t, t, x0)._replace(log_variance_mix=out.log_variance_mix)

    return thresholded
