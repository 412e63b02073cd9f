"""Which token of a target prompt stands for which of the source, for prompt-to-prompt.

Hertz et al. 2022, arXiv 2208.01626, section 3. The cross-attention map of target token j becomes

    w_j (a_j (M R)_j + (1 - a_j) M'_j)                                                      (1)

with M the source's maps, M' the target's, R [S,S] who stands for whom, a_j whether anyone does, and
w_j a weight of the user's.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.checks import check_number
from clipdiff_jax.core.request import Number
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.data.words import Word, end_of, tokens_of, words_in

Pairing = Literal["replace", "refine"]


class Alignment(NamedTuple):
    """R, a and w of eq. 1, of one pair of prompts or, with a leading axis, of many."""

    moves: Float[Array | np.ndarray, "*b s s"]
    shared: Float[Array | np.ndarray, "*b s"]
    weights: Float[Array | np.ndarray, "*b s"]


def align(
    source: str,
    target: str,
    tokenizer: Tokenizer,
    how: Pairing | None = None,
    weights: Mapping[str, Number] | None = None,
) -> Alignment:
    """The alignment of two prompts.

    how: "replace" pairs the words in order, of which there must be as many; "refine" keeps the
        tokens that both have, in order, and leaves new ones to the target; None is "replace" where
        the numbers of words agree and "refine" where they do not.
    weights: of words of the target; 1 leaves a word as it is.

    Raises `ValueError` for other numbers of words, and for a weight of a word that is not there.
    """
    words = words_in(source, tokenizer), words_in(target, tokenizer)
    if how is None:
        how = "replace" if len(words[0]) == len(words[1]) else "refine"
    if how == "replace" and len(words[0]) != len(words[1]):
        raise ValueError(
            f"'{source}' has {len(words[0])} words and '{target}' {len(words[1])}: replace pairs "
            "them one by one. Use pairing='refine'"
        )
    ends = end_of(source, tokenizer), end_of(target, tokenizer)
    length = tokenizer.context_length
    moves, shared = np.zeros((length, length), np.float32), np.ones(length, np.float32)
    moves[0, 0] = 1
    if how == "replace":
        for one, other in zip(*words, strict=True):
            _pair(moves, one, other)
            # A word beyond what is read of the source has no maps that the target's could be.
            shared[list(other.tokens)] = bool(one.tokens)
    else:
        rows = tokenizer.silent([source, target])
        ids = [row[1:end].tolist() for row, end in zip(rows, ends, strict=True)]
        for j, i in enumerate(matched(*ids)):
            shared[j + 1] = i is not None
            moves[0 if i is None else i + 1, j + 1] = 1
    for j in range(ends[1], length):  # the end mark and what follows it
        moves[min(ends[0] + j - ends[1], length - 1), j] = 1
    scale = np.ones(length, np.float32)
    for phrase, weight in (weights or {}).items():
        check_number(f"the weight of '{phrase}'", weight)
        scale[list(tokens_of(phrase, target, tokenizer))] = weight
    return Alignment(moves, shared, scale)


def _pair(moves: np.ndarray, source: Word, target: Word) -> None:
    """Token by token where there are as many, else each of the source's goes to all alike."""
    if len(source.tokens) == len(target.tokens):
        moves[list(source.tokens), list(target.tokens)] = 1
        return
    for j in target.tokens:
        moves[list(source.tokens), j] = 1 / len(target.tokens)


def matched(source: Sequence[int], target: Sequence[int]) -> list[int | None]:
    """For each item of the target the one of the source that it is, in order, or None.

    Needleman and Wunsch 1970 with 1 for a match, -1 for a mismatch and 0 for a gap.
    """
    n, m = len(source), len(target)
    best = np.zeros((n + 1, m + 1), int)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            both = best[i - 1, j - 1] + (1 if source[i - 1] == target[j - 1] else -1)
            best[i, j] = max(both, best[i - 1, j], best[i, j - 1])
    found: list[int | None] = [None] * m
    i, j = n, m
    while i and j:
        same = source[i - 1] == target[j - 1]
        if same and best[i, j] == best[i - 1, j - 1] + 1:
            i, j = i - 1, j - 1
            found[j] = i
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i -= 1
    return found
