"""What CLIP-guided sampling minimises: a distance on CLIP's sphere, and what keeps pictures sane.

All are means over a picture, one number for each: [B]. (Crowson 2021, CLIP-guided diffusion.)
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def spherical_distance(u: Float[Array, "*b d"], v: Float[Array, "*c d"]) -> Float[Array, "*e"]:
    """angle(u, v)^2 / 2 of unit vectors, from 0 to pi^2 / 2.

    The released 2 arcsin(|u - v| / 2)^2 is the same number, with a gradient that is not a number
    where u = v and infinite where u = -v; here it is 0 in both places.
    """
    return 2 * jnp.arctan2(_length(u - v), _length(u + v)) ** 2


def total_variation(images: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean of squared differences to the right and to the lower neighbour, edges repeated."""
    down = jnp.sum((images[:, 1:] - images[:, :-1]) ** 2, axis=(1, 2, 3))
    right = jnp.sum((images[:, :, 1:] - images[:, :, :-1]) ** 2, axis=(1, 2, 3))
    return (down + right) / images[0].size


def range_penalty(images: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean square of what lies outside of [-1, 1]."""
    return jnp.mean((images - jnp.clip(images, -1, 1)) ** 2, axis=(1, 2, 3))


def saturation(images: Float[Array, "b h w c"]) -> Float[Array, " b"]:
    """The mean of how far values lie outside of [-1, 1]."""
    return jnp.mean(jnp.abs(images - jnp.clip(images, -1, 1)), axis=(1, 2, 3))


def _length(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    """|x| over the last axis, with a gradient of 0 at 0."""
    squared = jnp.sum(x * x, axis=-1)
    there = squared > 0
    return jnp.where(there, jnp.sqrt(jnp.where(there, squared, 1.0)), 0.0)
