"""The asymmetric reverse process of edits in h-space (Asyrp, Kwon et al. 2023, arXiv 2210.10960).

A DDIM step is a clean picture and a direction back to x_t, both made of one eps. An edit of both
cancels out; an edit of the picture alone does not (theorem 1, eq. 5):

    x_s = alpha_s P_t(eps(x_t | shifted)) + sigma_s D_t(eps(x_t))

with P_t the guess x0 and D_t = eps. In the contract of `prediction` that is a `Prediction` whose x0
and eps come from two models. Below a time t_boost some noise is put in again (section 4.2).
"""

import jax.numpy as jnp
from jaxtyping import Array, Int

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, match
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim


def asymmetric(base: Denoise, shifted: Denoise, t_edit: int | Int[Array, ""] = 0) -> Denoise:
    """x0 from `shifted` where t >= t_edit, everything else from `base`.

    Its x0 and eps do not add up to x_t; samplers that assume so (those that take only one of the
    two, such as `edict`) are not for it.
    """

    def denoise(x_t: Array, t: Array, cond: Cond) -> Prediction:
        plain = base(x_t, t, cond)
        x0 = shifted(x_t, t, cond).x0
        return Prediction(jnp.where(match(jnp.asarray(t), x_t) >= t_edit, x0, plain.x0), plain.eps)

    return denoise


def boosted(schedule: NoiseSchedule, t_boost: int | Int[Array, ""]) -> Step:
    """DDIM without noise (eta 0) down to t_boost, with DDPM's (eta 1) at times below it."""

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        eta = jnp.where(t < t_boost, 1.0, 0.0)
        return ddim(schedule, eta)(x, prediction, t, t_next, z)

    return step
