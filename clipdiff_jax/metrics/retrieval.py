"""Whether a picture's own caption is the most similar of many, as a CLIP sees it.

Of all different captions, the place of the picture's own by similarity. The share of pictures whose
own comes first is R-precision with R = 1 (Xu et al. 2018, arXiv 1711.10485, section 4.1), and
depends on how many captions there are.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64


def retrieval_ranks(
    images: Float[Array, "b d"], texts: Float[Array, "b d"], captions: Sequence[str]
) -> Float64[np.ndarray, " b"]:
    """For each picture the place of its own caption among all different ones, 1 for the first.

    images, texts: unit embeddings of the pictures and of `captions`, one for each picture. A
    caption that occurs again is one candidate. Captions that are exactly as similar as the own one
    count half, so that embeddings that are all the same come out in the middle.
    """
    first = {caption: index for index, caption in reversed(list(enumerate(captions)))}
    chosen = np.array(list(first.values()))
    place = {caption: column for column, caption in enumerate(first)}
    own = np.array([place[caption] for caption in captions])
    similar = np.asarray(jnp.matmul(images, texts[chosen].T, precision="highest"))
    mine = similar[np.arange(len(own)), own][:, None]
    ahead, level = (similar > mine).sum(axis=1), (similar == mine).sum(axis=1) - 1
    return 1 + ahead + level / 2
