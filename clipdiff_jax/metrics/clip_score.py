"""How well pictures fit texts, as a CLIP sees it; a score for each picture.

With f CLIP's image tower and g its text tower, both L2-normalised, for a picture x and its text c,

    CLIP score = w max(<f(x), g(c)>, 0)                                                    (1)

(Hessel et al. 2021, arXiv 2104.08718, section 3, with w = 2.5 and c prefixed with "A photo
depicts"; others report w = 100 and c as it is). The number depends on the CLIP: only scores of one
CLIP can be compared. What can be read without that is a rank, see `metrics.retrieval`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

HESSEL_WEIGHT, HESSEL_PREFIX = 2.5, "A photo depicts "
PERCENT = 100.0


def clip_score(
    images: Float[Array, "b d"], texts: Float[Array, "_ _"], weight: float = HESSEL_WEIGHT
) -> Float[Array, " b"]:
    """Eq. 1 for each picture and its text, both as unit embeddings.

    weight: `HESSEL_WEIGHT`, or `PERCENT` for the other convention. Raises `ValueError` where there
    is not one text for each picture, or they are of another CLIP.
    """
    if images.shape != texts.shape:
        raise ValueError(f"embeddings of pictures {images.shape} and of texts {texts.shape}")
    cosine = jnp.einsum("bd,bd->b", images, texts, precision="highest")
    return weight * jnp.maximum(cosine, 0.0)
