"""How well pictures fit texts, and edits the texts that asked for them; a score for each picture.

With f CLIP's image tower and g its text tower, both L2-normalised, for a picture x and its text c,

    CLIP score = w max(<f(x), g(c)>, 0)                                                    (1)

(Hessel et al. 2021, arXiv 2104.08718, section 3, with w = 2.5 and c begun with "A photo depicts";
others report w = 100 and c as it is). The number depends on the CLIP: only scores of one CLIP can
be compared. A rank can be read without that: of all different captions, the place of the
picture's own by similarity. The share of pictures whose own comes first is R-precision with R = 1
(Xu et al. 2018, arXiv 1711.10485, section 4.1), and depends on how many captions there are.

Of an edit, the direction S_dir is eq. 15 and 16 of `perceptual.directional`, and the identity kept
is the cosine of eq. 19 of `perceptual.identity`.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.perceptual.directional import TextDirection, change
from clipdiff_jax.perceptual.identity import identity_loss

HESSEL_WEIGHT, HESSEL_PREFIX = 2.5, "A photo depicts "
PERCENT = 100.0

Images = Float[Array | np.ndarray, "b h w 3"]
Embeddings = Float[Array, "b d"]


def clip_score(
    images: Embeddings, texts: Embeddings, weight: float = HESSEL_WEIGHT
) -> Float[Array, " b"]:
    """Eq. 1 for each picture and its text, both as unit embeddings.

    weight: `HESSEL_WEIGHT`, or `PERCENT` for the other convention.
    """
    cosine = jnp.einsum("bd,bd->b", images, texts, precision="highest")
    return weight * jnp.maximum(cosine, 0.0)


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


def directional_similarity(
    clip: Clip, direction: TextDirection, images: Images, originals: Images
) -> Float[Array, " b"]:
    """S_dir of each edited picture: the cosine of its change with the text's, -1 to 1.

    direction: from `perceptual.directional.text_direction`. Near 0 where the edit did nothing.
    """
    images, originals = jnp.asarray(images), jnp.asarray(originals)
    return change(clip.embed_images, direction, images, originals).cosine


def identity_similarity(
    embed_faces: Callable[[Array], Array], images: Images, originals: Images
) -> Float[Array, " b"]:
    """The cosine of each aligned face with its original to a face recogniser, 1 for the same.

    embed_faces: as of `perceptual.identity.identity_loss`, such as `FaceEncoder.embed`.
    """
    return 1 - identity_loss(embed_faces, jnp.asarray(images), jnp.asarray(originals))
