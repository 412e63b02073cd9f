"""Checks of what a user hands in, with messages that say what to do."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def check_floats(images: Array | np.ndarray) -> None:
    """Raises `TypeError` for integer images, which have another range."""
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise TypeError(
            f"images are {images.dtype}, expected floats in [-1, 1]: images / 127.5 - 1"
        )
