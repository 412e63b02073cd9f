"""Picking the examples of a source that show certain attributes."""

from collections.abc import Iterator, Sequence
from typing import Any

from clipdiff_jax.data.sources import DataSource


def matching(source: DataSource, only: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yields the examples, in order, whose attributes fit all of `only`.

    A condition is "attribute=word" or "attribute=word|word". Raises `ValueError` for one that does
    not read like that.
    """
    wanted = [_condition(text) for text in only]
    for index in range(len(source)):
        example = source[index]
        shown = example.get("attributes", {})
        if all(shown.get(name) in words for name, words in wanted):
            yield example


def _condition(text: str) -> tuple[str, list[str]]:
    name, equals, words = text.partition("=")
    if not (name and equals and words):
        raise ValueError(f"a condition reads attribute=word or attribute=word|word, got {text!r}")
    return name, words.split("|")
