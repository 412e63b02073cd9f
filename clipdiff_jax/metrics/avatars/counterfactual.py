"""How good an edit is, measured against the truth.

An avatar can be rendered again with one attribute changed, so every edit of an avatar has a true
counterfactual. Four figures together say what happened: whether a classifier that never saw CLIP
finds the target value (success) and the other attributes as before (kept), and how close the
picture comes to the true counterfactual where something should change (PSNR inside) and where
nothing should (PSNR outside). Success alone is easily fooled; an edit that does nothing has the
best PSNR outside. The figures of the unedited face stand beside, and so does what the classifier
says of the true counterfactual, which is the ceiling for success and kept.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.avatars.faces import (
    Face,
    counterfactual,
    draw_face,
    labels,
    render,
    split_of,
)
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, MAIN_STYLE, STYLES
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.pixels import psnr

EditImages = Callable[[Any], Any]  # float [N,H,W,3] in [-1,1] -> the same, or uint8
MOST_DRAWS = 200_000


@runtime_checkable
class Classifier(Protocol):
    """Says of each image ([N,H,W,3] in [-1,1]) which word every attribute has.

    `metrics.avatars.attributes.load_attributes()` gives one.
    """

    def predict(self, images: Any) -> list[dict[str, str]]: ...


@dataclass(frozen=True)
class AttributeEdit:
    """The edit that gives `attribute` the value `target`.

    `sources` are the values the faces start from; empty means every value but the target. The
    attribute may be `"style"`: the same record is then rendered in another art style. That truth
    is weaker than the others, because a style draws some values differently or not at all
    (`ArtStyle.substitutes`) and its faces stand elsewhere in the frame: nearly all pixels are
    "inside", the PSNR says little about anything but colours and placement, and only attributes
    with the same value in both pictures count for "kept".
    """

    attribute: str
    target: str
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        values = {"style": dict(STYLES)} | dict(ATTRIBUTES)
        if self.attribute not in values:
            raise ValueError(
                f"unknown attribute {self.attribute!r}; expected one of {', '.join(values)}."
                + nearest(self.attribute, values)
            )
        for word in (self.target, *self.sources):
            if word not in values[self.attribute]:
                raise ValueError(
                    f"unknown {self.attribute} {word!r}; expected one of "
                    f"{', '.join(values[self.attribute])}." + nearest(word, values[self.attribute])
                )
        if self.target in self.sources:
            raise ValueError(f"the target {self.target!r} is among the sources {self.sources}")

    def __str__(self) -> str:
        return f"{self.attribute}: {' or '.join(self.sources) or 'any'} -> {self.target}"


class Pairs(NamedTuple):
    """Faces before the edit and as they truly are after it; images float32 in [-1,1]."""

    before: tuple[Face, ...]
    after: tuple[Face, ...]
    originals: Float32[np.ndarray, "n h w 3"]
    truths: Float32[np.ndarray, "n h w 3"]


@dataclass(frozen=True)
class EditScores:
    """What `measure_edit` found, as means over `faces` held-out faces.

    `success`: share of edited faces in which the classifier finds the target value.
    `kept`: mean over faces and other attributes of whether the classifier says of the edited face
    what it says of the original; counted are attributes that both the original and the true
    counterfactual show, with the same value.
    `inside`, `outside`: PSNR in decibels (peak to peak 2, that is, images in [-1,1]) to the true
    counterfactual, in the region that should change, grown by one pixel, and in the rest. Means
    over faces of each face's PSNR.
    `*_unedited`: the same of the original. Outside, it equals the truth: its PSNR is infinite.
    `*_truth`: the same of the true counterfactual, the most that `success` and `kept` can show.
    """

    edit: AttributeEdit
    faces: int
    success: float
    success_unedited: float
    success_truth: float
    kept: float
    kept_truth: float
    inside: float
    inside_unedited: float
    outside: float

    @staticmethod
    def markdown_header() -> str:
        """The two header lines above rows of `to_markdown`."""
        return (
            "| edit | faces | success (unedited, truth) | others kept (truth) "
            "| PSNR inside (unedited) | PSNR outside |\n|---|---|---|---|---|---|"
        )

    def to_markdown(self) -> str:
        """One row of a table."""
        return (
            f"| {self.edit} | {self.faces} "
            f"| {self.success:.1%} ({self.success_unedited:.1%}, {self.success_truth:.1%}) "
            f"| {self.kept:.1%} ({self.kept_truth:.1%}) "
            f"| {self.inside:.1f} ({self.inside_unedited:.1f}) | {self.outside:.1f} |"
        )


def draw_pairs(edit: AttributeEdit, count: int, size: int, seed: int = 0) -> Pairs:
    """The first `count` faces of the test split, main domain, that have a source value.

    Raises `ValueError` where no such faces can be found, for example because the main domain does
    not draw the target value.
    """
    before = list(itertools.islice(_source_faces(edit, seed), count))
    if len(before) < count:
        raise ValueError(f"found only {len(before)} of {count} test faces for the edit '{edit}'")
    after = [counterfactual(face, edit.attribute, edit.target) for face in before]
    originals, truths = (
        to_float(np.stack([render(face, size) for face in faces])) for faces in (before, after)
    )
    return Pairs(tuple(before), tuple(after), originals, truths)


def measure_edit(
    edit_images: EditImages,
    edit: AttributeEdit,
    classifier: Classifier,
    *,
    count: int = 64,
    size: int = 64,
    batch_size: int = 16,
    seed: int = 0,
) -> EditScores:
    """Edits `count` held-out faces of `size` pixels, `batch_size` at a time, and scores the result.

    `edit_images` maps float32 [N,H,W,3] in [-1,1] to the same shape, in [-1,1] or as uint8. Raises
    `ValueError` where it returns another shape.
    """
    pairs = draw_pairs(edit, count, size, seed)
    parts = [pairs.originals[i : i + batch_size] for i in range(0, count, batch_size)]
    edited = np.concatenate([_as_float(edit_images(part), part.shape) for part in parts])
    return score_edit(edit, pairs, edited, classifier)


def score_edit(
    edit: AttributeEdit,
    pairs: Pairs,
    edited: Float[np.ndarray, "n h w 3"],
    classifier: Classifier,
) -> EditScores:
    """Scores `edited`, the result of an edit of `pairs.originals`."""
    said_before, said, said_truth = (
        classifier.predict(images) for images in (pairs.originals, edited, pairs.truths)
    )
    regions = np.stack(
        [changed_region(a, b) for a, b in zip(pairs.originals, pairs.truths, strict=True)]
    )

    def success(words: list[dict[str, str]]) -> float:
        return float(np.mean([said[edit.attribute] == edit.target for said in words]))

    def kept(words: list[dict[str, str]]) -> float:
        hits = [
            now[name] == then[name]
            for before, after, now, then in zip(
                pairs.before, pairs.after, words, said_before, strict=True
            )
            for name in _unchanged(before, after)
            if name != edit.attribute
        ]
        return float(np.mean(hits))

    def mean_psnr(images: Float[np.ndarray, "n h w 3"], inside: bool) -> float:
        scores = np.asarray(psnr(images, pairs.truths, regions if inside else ~regions))
        scored = scores[~np.isnan(scores)]  # faces with pixels there
        return float(np.mean(scored)) if len(scored) else float("nan")

    return EditScores(
        edit=edit,
        faces=len(pairs.before),
        success=success(said),
        success_unedited=success(said_before),
        success_truth=success(said_truth),
        kept=kept(said),
        kept_truth=kept(said_truth),
        inside=mean_psnr(edited, inside=True),
        inside_unedited=mean_psnr(pairs.originals, inside=True),
        outside=mean_psnr(edited, inside=False),
    )


def changed_region(
    original: Float[np.ndarray, "h w 3"], truth: Float[np.ndarray, "h w 3"]
) -> Bool[np.ndarray, "h w"]:
    """Pixels in which the two renders differ at all, and their eight neighbours."""
    differs = np.pad((original != truth).any(-1), 1)
    height, width = original.shape[:2]
    shifts = itertools.product(range(3), range(3))
    return np.any([differs[y : y + height, x : x + width] for y, x in shifts], axis=0)


def _source_faces(edit: AttributeEdit, seed: int) -> Iterator[Face]:
    for index in range(MOST_DRAWS):
        face = draw_face(seed, index, (MAIN_STYLE,), 1.0)
        word = labels(face).get(edit.attribute)
        wanted = word is not None and word != edit.target and word in (edit.sources or (word,))
        if wanted and split_of(face) == "test":
            after = counterfactual(face, edit.attribute, edit.target)
            if labels(after)[edit.attribute] == edit.target:
                yield face


def _unchanged(before: Face, after: Face) -> list[str]:
    """Attributes that both pictures show with the same word."""
    shown = labels(after)
    return [name for name, word in labels(before).items() if shown.get(name) == word]


def _as_float(images: Any, shape: tuple[int, ...]) -> Float32[np.ndarray, "n h w 3"]:
    images = np.asarray(images)
    if images.shape != shape:
        raise ValueError(f"the edit returned images of shape {images.shape}, expected {shape}")
    if images.dtype == np.uint8:
        return to_float(images)
    return np.clip(images, -1, 1).astype(np.float32)
