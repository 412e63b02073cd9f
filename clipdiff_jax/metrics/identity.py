"""Whether an edited face is still the same person: the cosine of eq. 19, `perceptual.identity`."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.perceptual.identity import identity_loss

Images = Float[Array | np.ndarray, "b h w 3"]


def identity_similarity(
    embed_faces: Callable[[Array], Array], images: Images, originals: Images
) -> Float[Array, " b"]:
    """The cosine of each aligned face with its original to a face recogniser, 1 for the same.

    embed_faces: as of `perceptual.identity.identity_loss`, such as `FaceEncoder.embed`.
    """
    return 1 - identity_loss(embed_faces, jnp.asarray(images), jnp.asarray(originals))
