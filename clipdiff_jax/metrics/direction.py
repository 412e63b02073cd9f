"""Whether an edit went where its text asked: S_dir, eq. 15 and 16 of `perceptual.directional`."""

import jax
from jaxtyping import Array, Float

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.data.images import Pictures, as_pair
from clipdiff_jax.perceptual.directional import TextDirection, change


def directional_similarity(
    clip: Clip, direction: TextDirection, images: Pictures, originals: Pictures
) -> Float[Array, " b"]:
    """S_dir of each edited picture: the cosine of its change with the text's, -1 to 1.

    direction: from `perceptual.directional.text_direction`. Near 0 where the edit did nothing.
    """
    return _cosine(clip, direction, *as_pair(images, originals))


@jax.jit
def _cosine(
    clip: Clip, direction: TextDirection, images: Array, originals: Array
) -> Float[Array, " b"]:
    return change(clip.embed_images, direction, images, originals).cosine
