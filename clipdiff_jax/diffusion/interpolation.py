"""Spherical interpolation, of CLIP embeddings and of Gaussian latents.

Both live near a sphere, which straight lines leave: half-way between two independent latents of d
dimensions a straight line is at 0.7 of their length, where a diffusion model has seen nothing.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_PARALLEL = 1e-6  # sines below it: the two directions are one, or opposite


def slerp(
    a: Float[Array, "b ..."], b: Float[Array, "b ..."], theta: float | Float[Array, "..."]
) -> Float[Array, "b ..."]:
    """From `a` at theta 0 to `b` at 1, along the great circle of their directions.

    sin((1 - theta) w) / sin(w) a/|a| + sin(theta w) / sin(w) b/|b|, with w the angle between `a`
    and `b` as whole vectors of each example (Shoemake 1985), times the length, which goes from |a|
    to |b| in a straight line. theta: scalar or [B]. Where w is 0 or a length 0 the straight line is
    taken; where w is pi, and every great circle leads from one to the other, the one through the
    axis that `a` has least of.
    """
    axes = tuple(range(1, a.ndim))
    theta = jnp.asarray(theta, jnp.float32)
    theta = theta.reshape(theta.shape + (1,) * (a.ndim - theta.ndim)) if theta.ndim else theta
    length_a, length_b = (jnp.sqrt(jnp.sum(x**2, axes, keepdims=True)) for x in (a, b))
    unit_a, unit_b = a / jnp.maximum(length_a, 1e-12), b / jnp.maximum(length_b, 1e-12)
    cosine = jnp.clip(jnp.sum(unit_a * unit_b, axes, keepdims=True), -1, 1)
    w = jnp.arccos(cosine)
    sine = jnp.sin(w)
    no_angle = sine < _PARALLEL
    no_length = jnp.minimum(length_a, length_b) == 0
    safe = jnp.where(no_angle | no_length, 1.0, sine)
    arc = (jnp.sin((1 - theta) * w) * unit_a + jnp.sin(theta * w) * unit_b) / safe
    half_turn = jnp.cos(theta * w) * unit_a + jnp.sin(theta * w) * _perpendicular(unit_a)
    arc = jnp.where(no_angle & (cosine < 0), half_turn, arc)
    length = (1 - theta) * length_a + theta * length_b
    straight = no_length | (no_angle & (cosine > 0))
    return jnp.where(straight, (1 - theta) * a + theta * b, length * arc)


def _perpendicular(unit: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
    """A unit vector at a right angle to each example's, through the axis that it has least of."""
    flat = unit.reshape(len(unit), -1)
    axis = jnp.argmin(jnp.abs(flat), axis=1)
    across = jax.nn.one_hot(axis, flat.shape[1], dtype=flat.dtype) - flat * jnp.take_along_axis(
        flat, axis[:, None], axis=1
    )
    return (across / jnp.linalg.norm(across, axis=1, keepdims=True)).reshape(unit.shape)
