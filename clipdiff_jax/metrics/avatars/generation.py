"""Whether pictures made from texts show what the texts name.

A prompt is composed from some attributes of a held-out avatar, so it is known what it names, and a
classifier that was trained on rendered labels only says what the picture shows. Prompts of three
kinds are apart: those whose attributes occur together in training, those that name a pair of
attributes that never does (`data.avatars.styles.HELD_OUT`), and those that name two colours and
nothing else. The last ask for binding, the failure that the unCLIP paper names (section 7): each
colour is there, but on the wrong thing.

Pictures can be right and all the same. How varied those of one text are shows in the attributes
that the text leaves open: the share of pairs of pictures in which they differ, beside that of
renders which show what the text names and are otherwise drawn as the data is.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.data.avatars.captions import describe
from clipdiff_jax.data.avatars.faces import Face, draw_face, is_held_out, labels, split_of
from clipdiff_jax.data.avatars.styles import (
    ATTRIBUTES,
    CLOTHES_COLORS,
    HAIR_COLORS,
    HELD_OUT,
    MAIN_STYLE,
)
from clipdiff_jax.metrics.avatars.counterfactual import MOST_DRAWS, Classifier

Combination = Literal["seen", "unseen", "colours"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)
HAIR, CLOTHES = "hair_color", "clothes_color"
EITHER = HAIR_COLORS.keys() & CLOTHES_COLORS.keys()  # colours of hair and of clothes


class Prompt(NamedTuple):
    """A text, what it names, and the held-out face it was composed from."""

    text: str
    named: dict[str, str]
    face: Face


@dataclass(frozen=True)
class GenerationScores:
    """How many of the named attributes are there.

    Attributes:
      pictures: how many were scored.
      named: the mean over pictures of the share of their named attributes that are right.
      error: the standard error of that mean, from the spread over texts.
      whole: the share of pictures with every named attribute right.
      by_attribute: the share right of each attribute, where it is named.
      bound, swapped: of the pictures that name two different colours of hair and clothes, the
        share with both right, and with each on the other thing; None where there are none.
      truth: `named` of the rendered faces themselves, the most the classifier can show.
      varied, varied_truth: see `variety`; of renders that fit the same texts. None with one
        picture per text.
    """

    pictures: int
    named: float
    error: float
    whole: float
    by_attribute: dict[str, float]
    bound: float | None
    swapped: float | None
    truth: float
    varied: float | None = None
    varied_truth: float | None = None

    @staticmethod
    def markdown_header() -> str:
        """The two header lines above rows of `to_markdown`, after a column for what was scored."""
        return (
            "| pictures by | pictures | named attributes right (renders) | all named right "
            "| colours of hair and clothes right (swapped) | left open, varied (data) |"
            "\n|---|---|---|---|---|---|"
        )

    def to_markdown(self, what: str) -> str:
        """One row of a table."""
        return (
            f"| {what} | {self.pictures} | {self.named:.1%} ± {self.error:.1%} ({self.truth:.1%}) "
            f"| {self.whole:.1%} | {_shown(self.bound, self.swapped)} "
            f"| {_shown(self.varied, self.varied_truth)} |"
        )


def draw_prompts(
    count: int, combination: Combination, *, fewest: int = 3, most: int = 5, seed: int = 0
) -> list[Prompt]:
    """Prompts that name the art style and `fewest` to `most` attributes of held-out faces.

    "unseen" prompts name a pair of attributes that training never shows together, "seen" ones none;
    "colours" name the colours of hair and clothes alone, two different ones that both could have.
    Faces are of the main style and of the test split. Raises `ValueError` where too few are found.
    """
    if not 1 <= fewest <= most:
        raise ValueError(f"expected 1 <= fewest <= most, got {fewest} and {most}")
    prompts = list(itertools.islice(_prompts(combination, fewest, most, seed), count))
    if len(prompts) < count:
        raise ValueError(f"found only {len(prompts)} of {count} faces for {combination} prompts")
    return prompts


def score_generation(
    prompts: Sequence[Prompt],
    images: Float[Array | np.ndarray, "n h w 3"],
    classifier: Classifier,
    renders: Float[np.ndarray, "n h w 3"],
) -> GenerationScores:
    """Scores `images` in [-1, 1], one for each prompt; `renders` are the prompts' own faces."""
    if not len(prompts) == len(images) == len(renders):
        raise ValueError(
            f"{len(prompts)} prompts need as many images and renders, got {len(images)} and "
            f"{len(renders)}"
        )
    said, said_truth = classifier.predict(np.asarray(images)), classifier.predict(renders)
    shares = _shares(prompts, said)
    texts = [prompt.text for prompt in prompts]
    by_text = [np.mean(shares[[t == text for t in texts]]) for text in dict.fromkeys(texts)]
    hits: dict[str, list[bool]] = {}
    for prompt, words in zip(prompts, said, strict=True):
        for name, word in prompt.named.items():
            hits.setdefault(name, []).append(words[name] == word)
    coloured = [
        (prompt.named, words)
        for prompt, words in zip(prompts, said, strict=True)
        if prompt.named.get(HAIR, "") != prompt.named.get(CLOTHES, "")
        and {HAIR, CLOTHES} <= prompt.named.keys()
    ]
    bound = [(n[HAIR], n[CLOTHES]) == (w[HAIR], w[CLOTHES]) for n, w in coloured]
    swapped = [(n[HAIR], n[CLOTHES]) == (w[CLOTHES], w[HAIR]) for n, w in coloured]
    return GenerationScores(
        pictures=len(images),
        named=float(np.mean(shares)),
        error=float(np.std(by_text) / np.sqrt(len(by_text))),
        whole=float(np.mean(shares == 1)),
        by_attribute={name: float(np.mean(right)) for name, right in sorted(hits.items())},
        bound=float(np.mean(bound)) if bound else None,
        swapped=float(np.mean(swapped)) if swapped else None,
        truth=float(np.mean(_shares(prompts, said_truth))),
    )


def variety(
    prompts: Sequence[Prompt], images: Float[Array | np.ndarray, "n h w 3"], classifier: Classifier
) -> float:
    """How varied pictures of one text are: 0 where all are the same in what it leaves open.

    prompts: one for each image; those of one text are equal. Over all pairs of pictures of a text,
    and all attributes that it does not name: the share that the classifier reads differently.
    Returns the mean over texts. Raises `ValueError` for a text with fewer than two pictures.
    """
    said: dict[str, list[dict[str, str]]] = {}
    for prompt, words in zip(prompts, classifier.predict(np.asarray(images)), strict=True):
        said.setdefault(prompt.text, []).append(words)
    named = {prompt.text: prompt.named for prompt in prompts}
    shares = []
    for text, pictures in said.items():
        if len(pictures) < 2:
            raise ValueError(f"variety is of two pictures or more of a text, got one of '{text}'")
        left = [name for name in ATTRIBUTES if name not in named[text]]
        pairs = itertools.combinations(pictures, 2)
        shares.append(np.mean([[a[name] != b[name] for name in left] for a, b in pairs]))
    return float(np.mean(shares))


def fitting_faces(prompt: Prompt, count: int, seed: int = 0) -> list[Face]:
    """Faces that show what `prompt` names, everything else drawn as in the data."""
    changes: dict[str, Any] = {**prompt.named}
    drawn = (
        replace(draw_face(seed, index, (MAIN_STYLE,), 1.0), **changes)
        for index in range(MOST_DRAWS)
    )
    fit = (face for face in drawn if prompt.named.items() <= labels(face).items())
    return list(itertools.islice(fit, count))


def _shown(share: float | None, beside: float | None) -> str:
    return "" if share is None else f"{share:.1%} ({beside:.1%})"


def _shares(prompts: Sequence[Prompt], said: list[dict[str, str]]) -> Float[np.ndarray, " n"]:
    return np.array(
        [
            np.mean([words[name] == word for name, word in prompt.named.items()])
            for prompt, words in zip(prompts, said, strict=True)
        ]
    )


def _prompts(combination: Combination, fewest: int, most: int, seed: int) -> Iterator[Prompt]:
    rng = np.random.default_rng(seed)
    for index in range(MOST_DRAWS):
        face = draw_face(seed, index, (MAIN_STYLE,), 1.0)
        if split_of(face) != "test" or is_held_out(face) != (combination == "unseen"):
            continue
        shown = labels(face)
        if combination == "colours":
            pair = {name: shown[name] for name in (HAIR, CLOTHES) if shown.get(name) in EITHER}
            if len(set(pair.values())) == 2:
                named = {"style": face.style} | pair
                yield Prompt(describe(named, rng), named, face)
            continue
        # Of what the face shows; the pair that makes it unseen is always named.
        chosen = [
            name
            for pair in HELD_OUT
            for name, word in pair
            if all(shown.get(other) == value for other, value in pair)
        ]
        others = [name for name in shown if name != "style" and name not in chosen]
        more = max(int(rng.integers(fewest, most, endpoint=True)) - len(chosen), 0)
        chosen += [others[i] for i in rng.permutation(len(others))[:more]]
        named = {"style": face.style} | {name: shown[name] for name in chosen}
        yield Prompt(describe(named, rng), named, face)
