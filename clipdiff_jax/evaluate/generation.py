"""Whether pictures made from texts show what the texts name.

A prompt is composed from some attributes of a held-out avatar, so it is known what it names, and a
classifier that was trained on rendered labels only says what the picture shows. Prompts of two
kinds are apart: those whose attributes occur together in training, and those that name a pair of
attributes that never does (`data.avatar_styles.HELD_OUT`). Binding is the failure that the unCLIP
report names (section 7): each colour is there, but on the wrong thing.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.data.avatar_faces import Face, draw_face, is_held_out, labels, split_of
from clipdiff_jax.data.avatar_styles import HELD_OUT, MAIN_STYLE
from clipdiff_jax.data.captions import describe
from clipdiff_jax.evaluate.counterfactual import MOST_DRAWS, Classifier

Combination = Literal["seen", "unseen"]
COMBINATIONS: tuple[Combination, ...] = get_args(Combination)
HAIR, CLOTHES = "hair_color", "clothes_color"


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
      error: the standard error of that mean.
      whole: the share of pictures with every named attribute right.
      by_attribute: the share right of each attribute, where it is named.
      bound, swapped: of the pictures that name two different colours of hair and clothes, the
        share with both right, and with each on the other thing.
      truth: `named` of the rendered faces themselves, the most the classifier can show.
    """

    pictures: int
    named: float
    error: float
    whole: float
    by_attribute: dict[str, float]
    bound: float
    swapped: float
    truth: float

    @staticmethod
    def markdown_header() -> str:
        """The two header lines above rows of `to_markdown`, after a column for what was scored."""
        return (
            "| pictures by | pictures | named attributes right (renders) | all named right "
            "| colours of hair and clothes right (swapped) |\n|---|---|---|---|---|"
        )

    def to_markdown(self, what: str) -> str:
        """One row of a table."""
        return (
            f"| {what} | {self.pictures} | {self.named:.1%} ± {self.error:.1%} ({self.truth:.1%}) "
            f"| {self.whole:.1%} | {self.bound:.1%} ({self.swapped:.1%}) |"
        )


def draw_prompts(
    count: int, combination: Combination, *, fewest: int = 3, most: int = 5, seed: int = 0
) -> list[Prompt]:
    """Prompts that name the art style and `fewest` to `most` attributes of held-out faces.

    "unseen" prompts name a pair of attributes that training never shows together, "seen" ones none.
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
        error=float(np.std(shares) / np.sqrt(len(shares))),
        whole=float(np.mean(shares == 1)),
        by_attribute={name: float(np.mean(right)) for name, right in sorted(hits.items())},
        bound=float(np.mean(bound)) if bound else float("nan"),
        swapped=float(np.mean(swapped)) if swapped else float("nan"),
        truth=float(np.mean(_shares(prompts, said_truth))),
    )


def diversity(images: Float[Array | np.ndarray, "n h w 3"]) -> float:
    """The mean distance between two pictures of one text: root mean square of pixels in [-1, 1].

    Raises `ValueError` for fewer than two pictures.
    """
    if len(images) < 2:
        raise ValueError(f"diversity is of two pictures or more, got {len(images)}")
    flat = np.asarray(images, np.float64).reshape(len(images), -1)
    pairs = [flat[i] - flat[j] for i, j in itertools.combinations(range(len(flat)), 2)]
    return float(np.mean([np.sqrt(np.mean(difference**2)) for difference in pairs]))


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
