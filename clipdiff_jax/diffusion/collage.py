"""One estimate of the noise for each object and one for the scene, merged where the objects are.

NoiseCollage (Shirakawa and Uchida 2024, arXiv 2403.03485, eq. 2): every estimate sees the whole
x_t, and at each place p

    eps(p) = sum_n r_n(p) eps_n(p),    r_n = w_n m_n / sum_k w_k m_k                         (1)

with m_0 = 1 for the scene and m_n the region of object n. The ratios sum to one, so x0 is merged as
eps is, and guidance, which is affine, comes after it: all objects share one null estimate.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.diffusion.guidance import Contrast, towards, with_contrast_of
from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction


class Parts(NamedTuple):
    """The conditioning of a collage: of each picture that of the scene, then those of its objects.

    conds: leaves [B, N, ...]. ratios: r of eq. 1.
    """

    conds: Any
    ratios: Float[Array, "b n h w 1"]


def merge_ratios(weights: Float[Array, "n h w"]) -> Float[Array, "n h w 1"]:
    """w_n m_n -> r_n of eq. 1. Every place must have a weight above 0."""
    return (weights / weights.sum(axis=0))[..., None]


def collage(
    denoise: Denoise, null_cond: Cond, scale: float | Float[Array, "..."], contrast: Contrast
) -> Denoise:
    """eps = eps(null) + scale (eps - eps(null)) of eq. 1's eps, in one call on N + 1 batches.

    The result's conditioning is `Parts`; `null_cond` is that of single pictures [B, ...].
    """

    def merged(x_t: Array, t: Array, cond: Cond) -> Prediction:
        batch, count = cond.ratios.shape[:2]
        conds = jax.tree.map(lambda a: a.reshape(batch * count, *a.shape[2:]), cond.conds)
        joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), conds, null_cond)
        t_each = jnp.broadcast_to(t, (batch,))
        out = denoise(
            jnp.concatenate([jnp.repeat(x_t, count, axis=0), x_t]),
            jnp.concatenate([jnp.repeat(t_each, count), t_each]),
            joined,
        )

        def of_parts(a: Array) -> Array:
            parts = a[: batch * count].reshape(batch, count, *a.shape[1:])
            return jnp.sum(cond.ratios * parts, axis=1)

        texts = Prediction(of_parts(out.x0), of_parts(out.eps))
        nulls = Prediction(out.x0[batch * count :], out.eps[batch * count :])
        return with_contrast_of(texts, towards(nulls, texts, scale, x_t), x_t, t, contrast)

    return merged
