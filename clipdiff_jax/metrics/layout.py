"""Whether a picture has its objects where a layout says, by any CLIP.

Of each region the square around it is cut out, with the picture's own pixels beside it (white ones
would shift all scores), and with c_n its embedding and s_m those of the regions' prompts, of length
one:

    region score  mean_n c_n s_n              layout accuracy  share of n with c_n s_n >= c_n s_m
    leakage       mean_(m != n) c_n s_m       global score     whole picture, prompt of the scene

The accuracy is 1 / N by chance; a region whose prompt another one has too is right with either.
(Shirakawa and Uchida 2024, arXiv 2403.03485, section 4, but for the white.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped, UInt8

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.data.shapes import Box
from clipdiff_jax.models.clip import unit


class LayoutScores(NamedTuple):
    """Of one picture: region scores, which regions are right, leakage of each, the global score."""

    region: Float[np.ndarray, " n"]
    right: Bool[np.ndarray, " n"]
    leakage: Float[np.ndarray, " n"]
    whole: float


def layout_scores(
    clip: Clip,
    image: Float[Array | np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 3"],
    prompt: str,
    prompts: Sequence[str],
    boxes: Sequence[Box],
) -> LayoutScores:
    """The scores of a picture in [-1, 1], or uint8; prompts and boxes are of its regions.

    The leakage of a single region is not a number. Raises `ValueError` for no regions.
    """
    if not prompts or len(prompts) != len(boxes):
        raise ValueError(f"{len(prompts)} prompts and {len(boxes)} boxes: expected as many, not 0")
    image = np.asarray(image)
    crops = [cut_out(image, box) for box in boxes]
    seen = unit(clip.embed_images([image, *crops]))
    said = unit(clip.embed_texts([prompt, *prompts]))
    cosines = np.asarray(seen @ said.T, np.float64)
    whole, between = float(cosines[0, 0]), cosines[1:, 1:]
    same = np.array([[a == b for b in prompts] for a in prompts])
    own = np.diag(between)
    others = np.where(same, np.nan, between)
    known = ~np.isnan(others).all(axis=1)
    leakage = np.full(len(prompts), np.nan)
    leakage[known] = np.nanmean(others[known], axis=1)
    right = np.array([own[n] >= np.nanmax(np.append(others[n], -2.0)) for n in range(len(prompts))])
    return LayoutScores(own, right, leakage, whole)


def cut_out(image: Shaped[np.ndarray, "h w 3"], box: Box) -> Shaped[np.ndarray, "i j 3"]:
    """The square around a box, moved into the picture where it leaves it; where it is larger than
    a side, all of that side."""
    height, width = image.shape[:2]
    left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    side = max(right - left, bottom - top)
    rows = _span((top + bottom) / 2, side, height)
    columns = _span((left + right) / 2, side, width)
    return image[rows, columns]


def _span(middle: float, side: float, size: int) -> slice:
    length = min(max(round(side), 1), size)
    start = min(max(round(middle - side / 2), 0), size - length)
    return slice(start, start + length)
