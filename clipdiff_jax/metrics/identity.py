"""Whether an edited face is still the same person: the cosine of eq. 19, `perceptual.identity`."""

from collections.abc import Callable

from jaxtyping import Array, Float

from clipdiff_jax.data.images import Pictures, as_pair
from clipdiff_jax.perceptual.identity import identity_loss


def identity_similarity(
    embed_faces: Callable[[Array], Array], images: Pictures, originals: Pictures
) -> Float[Array, " b"]:
    """The cosine of each aligned face with its original to a face recogniser, 1 for the same.

    embed_faces: as of `perceptual.identity.identity_loss`, such as `FaceEncoder.embed`.
    """
    return 1 - identity_loss(embed_faces, *as_pair(images, originals))
