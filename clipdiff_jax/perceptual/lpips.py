"""LPIPS: how different two pictures look, as features of a classifier see them.

With f_l the features of layer l of a network for image classification, scaled to unit length at
each place, and w_l >= 0 learned from what people call similar,

    d(x, y) = sum over l of mean over places of sum over channels of w_l (f_l(x) - f_l(y))^2   (1)

(Zhang et al. 2018, arXiv 1801.03924, eq. 1; version 0.1 of their weights.) Pictures in [-1, 1] are
first normalised as the networks were trained, `SHIFT` and `SCALE`.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

Features = Callable[[Array], tuple[Array, ...]]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10


def lpips(
    features: Features,
    weights: Sequence[Float[Array, " _"]],
    images: Float[Array, "b h w 3"],
    references: Float[Array, "b h w 3"],
) -> Float[Array, " b"]:
    """Eq. 1 for each pair; symmetric, 0 for equal pictures.

    features: [B, H, W, 3], normalised -> the layers, each [B, H_l, W_l, C_l].
    weights: w_l, one for each layer.
    """
    shift, scale = jnp.array(SHIFT), jnp.array(SCALE)
    ours, theirs = (features((picture - shift) / scale) for picture in (images, references))
    terms = [
        jnp.mean(jnp.sum(weight * jnp.square(_unit(x) - _unit(y)), axis=-1), axis=(1, 2))
        for weight, x, y in zip(weights, ours, theirs, strict=True)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


def _unit(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Unit length at each place; a place where nothing is active stays zero, gradient included."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    active = squared > 0
    length = jnp.where(active, jnp.sqrt(jnp.where(active, squared, 1.0)), 0.0)
    return x / (length + EPSILON)
