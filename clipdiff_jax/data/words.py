"""The words of a text and the tokens that each became, by where they stand and not by spelling.

A tokenizer cuts words into pieces, lower-cases them and parts them from commas; offsets into the
text survive all of that.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.tokenize import Tokenizer

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[^\w\s]+|_+")


class Word(NamedTuple):
    """A word or a run of punctuation.

    Attributes:
      text: in lower case.
      start, end: where it stands in the text.
      tokens: its positions in a row of the tokenizer, whose first is the start mark; fewer than it
        has, or none, where the text is too long.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]

    @property
    def is_word(self) -> bool:
        """Whether it is not punctuation."""
        return self.text[0].isalnum()


def words_in(text: str, tokenizer: Tokenizer) -> list[Word]:
    """The words of a text, in order."""
    offsets = tokenizer.backend.encode(text, add_special_tokens=False).offsets
    offsets = offsets[: tokenizer.context_length - 2]
    words = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        tokens = tuple(i + 1 for i, (a, b) in enumerate(offsets) if a < end and b > start)
        words.append(Word(match.group().lower(), start, end, tokens))
    return words


def end_of(text: str, tokenizer: Tokenizer) -> int:
    """The position of the end mark in a text's row."""
    count = len(tokenizer.backend.encode(text, add_special_tokens=False).ids)
    return min(count, tokenizer.context_length - 2) + 1


def tokens_of(phrase: str, text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The positions of all words of `phrase`, wherever they occur in a text.

    Raises `ValueError`, with the words that there are, for one that the text does not have, and for
    one beyond the tokenizer's length.
    """
    known = [word for word in words_in(text, tokenizer) if word.is_word]
    found: list[int] = []
    for wanted in _WORD.findall(phrase.lower()):
        same = [word for word in known if word.text == wanted]
        if not same:
            names = list(dict.fromkeys(word.text for word in known))
            raise ValueError(
                f"'{wanted}' is no word of '{text}', which has {', '.join(names)}."
                f"{nearest(wanted, names)}"
            )
        if not any(word.tokens for word in same):
            raise ValueError(
                f"'{wanted}' stands beyond the {tokenizer.context_length - 2} tokens of a text "
                "that the model reads"
            )
        found += [token for word in same for token in word.tokens]
    if not found:
        raise ValueError(f"'{phrase}' holds no word")
    return tuple(dict.fromkeys(found))


def marked(positions: Sequence[int], length: int) -> Float[np.ndarray, " t"]:
    """1 at the positions of a row, 0 elsewhere."""
    row = np.zeros(length, np.float32)
    row[list(positions)] = 1
    return row
