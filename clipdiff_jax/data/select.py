"""Picking the examples of a source that show certain attributes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from clipdiff_jax.data.sources import DataSource


def matching(source: DataSource, only: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yields the examples, in order, whose attributes fit all of `only`.

    A condition is "attribute=word" or "attribute=word|word". Raises `ValueError` for one that does
    not read like that.
    """
    fits = fitting(only)
    for index in range(len(source)):
        example = source[index]
        if fits(example.get("attributes", {})):
            yield example


def fitting(only: Sequence[str]) -> Callable[[Mapping[str, str]], bool]:
    """Whether attributes fit all conditions, as `matching` reads them."""
    wanted = [_condition(text) for text in only]
    return lambda shown: all(shown.get(name) in words for name, words in wanted)


def _condition(text: str) -> tuple[str, list[str]]:
    name, equals, words = text.partition("=")
    if not (name and equals and words):
        raise ValueError(f"a condition reads attribute=word or attribute=word|word, got {text!r}")
    return name, words.split("|")
