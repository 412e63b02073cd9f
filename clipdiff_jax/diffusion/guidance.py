"""Guidance: functions from denoisers to a denoiser.

At a fixed x_t, x0 and eps are affine in each other, so a combination whose weights sum to one may
be taken of both at once and still satisfies x_t = alpha x0 + sigma eps. Ratios, strengths and
scales may be traced arrays: changing them compiles nothing new.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, from_x0, match
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
        both = jax.tree.map(lambda c, n: jnp.concatenate([c, n]), cond, null_cond)
        batch = x_t.shape[0]
        t = jnp.broadcast_to(t, (batch,))
        out = denoise(jnp.concatenate([x_t, x_t]), jnp.concatenate([t, t]), both)
        halves = jax.tree.map(lambda a: (a[:batch], a[batch:]), (out.x0, out.eps))
        (x0, x0_null), (eps, eps_null) = halves
        weight = match(jnp.asarray(scale, jnp.float32), x_t)
        variance = out.log_variance_mix
        return Prediction(
            x0_null + weight * (x0 - x0_null),
            eps_null + weight * (eps - eps_null),
            None if variance is None else variance[:batch],
        )

    return guided


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
