"""The metrics by name, in three tables by what they are of: sets, pairs, or pictures with texts.

A metric says how it is printed and what it needs beside the pictures; `clipdiff evaluate` offers
what stands here. One of your own is a function and one line in a table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.config import nearest
from clipdiff_jax.metrics.clip_score import HESSEL_WEIGHT, PERCENT, clip_score
from clipdiff_jax.metrics.cmmd import cmmd
from clipdiff_jax.metrics.features import Features
from clipdiff_jax.metrics.fid import Statistics, fid
from clipdiff_jax.metrics.identity import identity_similarity
from clipdiff_jax.metrics.kid import kid
from clipdiff_jax.metrics.pixels import mae, psnr, ssim
from clipdiff_jax.metrics.precision_recall import precision, recall
from clipdiff_jax.metrics.retrieval import retrieval_ranks
from clipdiff_jax.metrics.uncertainty import Measured
from clipdiff_jax.perceptual.identity import FaceEncoder
from clipdiff_jax.perceptual.lpips import Lpips


@dataclass(frozen=True)
class SetMetric:
    """A number for a set of pictures against a set of others.

    Attributes:
      title, digits: in a table.
      network: whose features it compares.
      measure: (generated, reference, rounds, seed) -> the number and its uncertainty; `rounds` of
        random halves, where it is found by them.
      of_statistics: whether the reference may be `Statistics`.
    """

    title: str
    digits: str
    network: Literal["inception", "clip"]
    measure: Callable[[Features, Any, int, int], Measured]
    of_statistics: bool = False


@dataclass(frozen=True)
class PairMetric:
    """A number for each picture and its reference.

    Attributes:
      title, digits: in a table.
      scores: (pictures, references) [B, H, W, 3] in [-1, 1] -> [B].
    """

    title: str
    digits: str
    scores: Callable[[Any, Any], Float[Array, " b"]]


@dataclass(frozen=True)
class TextMetric:
    """A number for each picture and its text.

    Attributes:
      title: in a table; "{candidates}" is the number of different texts.
      scores: (embeddings of the pictures, of the texts, texts) -> [N]; embeddings are CLIP's, of
        length one.
      listed: whether results list it for each picture; what follows from another one is not.
      ranks: whether it ranks texts, of which there must be several.
    """

    title: str
    scores: Callable[[Array, Array, Sequence[str]], Float[Array | np.ndarray, " n"]]
    listed: bool = True
    ranks: bool = False


OF_SETS: dict[str, SetMetric] = {
    "fid": SetMetric(
        "FID ↓", ".3f", "inception",
        lambda x, y, rounds, seed: fid(x, y, rounds=rounds, seed=seed), of_statistics=True,
    ),
    "kid": SetMetric(
        "KID ↓", ".5f", "inception",
        lambda x, y, rounds, seed: kid(x.array(), y.array(), seed=seed),
    ),
    "cmmd": SetMetric(
        "CMMD ↓", ".4f", "clip",
        lambda x, y, rounds, seed: cmmd(x.array(), y.array(), rounds=rounds, seed=seed),
    ),
    "precision": SetMetric(
        "precision ↑", ".3f", "inception",
        lambda x, y, rounds, seed: precision(x.array(), y.array(), seed=seed),
    ),
    "recall": SetMetric(
        "recall ↑", ".3f", "inception",
        lambda x, y, rounds, seed: recall(x.array(), y.array(), seed=seed),
    ),
}  # fmt: skip

OF_PAIRS: dict[str, PairMetric] = {
    "mae": PairMetric("MAE ↓", ".4f", mae),
    "psnr": PairMetric("PSNR, dB ↑", ".2f", psnr),
    "ssim": PairMetric("SSIM ↑", ".4f", ssim),
}

OF_TEXTS: dict[str, TextMetric] = {
    "clip_score": TextMetric(
        f"CLIP score, w = {HESSEL_WEIGHT:g} ↑",
        lambda images, texts, captions: clip_score(images, texts),
    ),
    "clip_score_100": TextMetric(
        f"CLIP score, w = {PERCENT:g} ↑",
        lambda images, texts, captions: (
            PERCENT / HESSEL_WEIGHT * np.asarray(clip_score(images, texts))
        ),
        listed=False,
    ),
    "rank": TextMetric("mean rank of {candidates} ↓", retrieval_ranks, ranks=True),
    "r_precision": TextMetric(
        "own caption first of {candidates} ↑",
        lambda images, texts, captions: retrieval_ranks(images, texts, captions) == 1,
        listed=False,
        ranks=True,
    ),
}


def of_lpips(model: Lpips, net: str) -> dict[str, PairMetric]:
    """The metric of pairs that needs LPIPS, of this network."""
    return {"lpips": PairMetric(f"LPIPS ({net}) ↓", ".4f", model.distance)}


def of_faces(face: FaceEncoder) -> dict[str, PairMetric]:
    """The metric of pairs that needs a face recogniser."""
    identity = lambda images, originals: identity_similarity(face.embed, images, originals)
    return {"identity": PairMetric("identity ↑", ".3f", identity)}


def measure_sets(
    names: Sequence[str],
    generated: Features,
    reference: Features | Statistics,
    *,
    rounds: int,
    seed: int,
) -> dict[str, Measured]:
    """The metrics of `OF_SETS`, by name, of two sets of features of one network.

    Raises `ValueError` for a metric that does not exist, for statistics where one needs the
    reference's pictures, and for features of different networks.
    """
    for name in names:
        if name not in OF_SETS:
            raise ValueError(
                f"no metric '{name}' of sets, but {', '.join(OF_SETS)}.{nearest(name, OF_SETS)}"
            )
    if generated.network != reference.network and reference.network:
        raise ValueError(
            f"features of '{generated.network}' against those of '{reference.network}'"
        )
    needy = [name for name in names if not OF_SETS[name].of_statistics]
    if needy and isinstance(reference, Statistics):
        raise ValueError(
            f"{', '.join(needy)} need reference pictures: statistics are enough for fid alone"
        )
    return {name: OF_SETS[name].measure(generated, reference, rounds, seed) for name in names}
