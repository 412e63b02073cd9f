"""Whether an edit went where its text asked: S_dir, eq. 15 and 16 of `perceptual.directional`."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.perceptual.directional import TextDirection, change

Images = Float[Array | np.ndarray, "b h w 3"]


def directional_similarity(
    clip: Clip, direction: TextDirection, images: Images, originals: Images
) -> Float[Array, " b"]:
    """S_dir of each edited picture: the cosine of its change with the text's, -1 to 1.

    direction: from `perceptual.directional.text_direction`. Near 0 where the edit did nothing.
    """
    images, originals = jnp.asarray(images), jnp.asarray(originals)
    return change(clip.embed_images, direction, images, originals).cosine
