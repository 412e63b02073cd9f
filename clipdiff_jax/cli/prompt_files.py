"""Prompts from the command line and from files, a line each, with what is their own.

    a red cube
    a face with glasses | seed=3 | count=4
    a dog | negative=a cat
    {"prompt": "a | b", "seed": 3}

A picture of a prompt with a seed of its own is the one that the prompt gives alone with `--seed`;
those of the others are numbered from first to last, as if there were no others.
"""

import argparse
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from clipdiff_jax.cli.arguments import check_at_least, check_between, free_name
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import read_text
from clipdiff_jax.core.json_files import parse_json
from clipdiff_jax.core.keys import HIGHEST_SEED

TEXT = "prompt"  # the key of the text in JSON
_LONGEST = 2**20  # characters of a line


@dataclass(frozen=True)
class Prompt:
    """A text, and what its line says beside it; None where that is the command's.

    Raises `ValueError` for numbers that cannot be.
    """

    text: str
    seed: int | None = None
    count: int | None = None
    negative: str | None = None

    def __post_init__(self) -> None:
        if self.seed is not None:
            check_between("seed", self.seed, 0, HIGHEST_SEED)
        if self.count is not None:
            check_at_least("count", self.count, 1)


KEYS = tuple(one.name for one in dataclasses.fields(Prompt) if one.name != "text")
_WHOLE = ("seed", "count")


class Drawn(NamedTuple):
    """One picture of a prompt: the seed and the number that its key is made of, and its file."""

    prompt: Prompt
    seed: int
    number: int
    file: str


def read_prompts(args: argparse.Namespace) -> list[Prompt]:
    """The prompts of the command line and of its file.

    Raises `ValueError` for a file of none, and, with the file, the line and the nearest key, for a
    line that cannot be read.
    """
    prompts = [Prompt(text) for text in args.prompt or ()]
    if args.prompts is not None:
        lines = enumerate(io.StringIO(read_text(args.prompts), newline=None), 1)
        found = [_prompt(line, args.prompts, number) for number, line in lines if line.strip()]
        if not found:
            raise ValueError(f"no prompts in '{args.prompts}'")
        prompts += found
    return prompts


def drawn(prompts: Sequence[Prompt], args: argparse.Namespace, suffix: str = "") -> list[Drawn]:
    """Every picture of the prompts, `--count` of each where its line does not say how many.

    suffix: of the files' names.
    """
    pictures, taken, shared = [], set[str](), 0
    for prompt in prompts:
        count = prompt.count or args.count or 1
        seed, first = (args.seed, shared) if prompt.seed is None else (prompt.seed, 0)
        shared += count if prompt.seed is None else 0
        for index in range(first, first + count):
            name = free_name(f"{seed}-{index:05d}{suffix}", taken, args.format)
            pictures.append(Drawn(prompt, seed, index, name))
    return pictures


def _prompt(line: str, path: Path, number: int) -> Prompt:
    where = f"'{path}', line {number}"
    values = _of_json(line, where) if line.lstrip()[0] in "{[" else _of_words(line, where)
    text = values.pop(TEXT)
    if not text.strip():
        raise ValueError(f"{where}: the prompt is empty, expected a text")
    try:
        return Prompt(text, **values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _of_words(line: str, where: str) -> dict[str, Any]:
    """What a line of text and `key=value`s says."""
    text, *parts = (part.strip() for part in line.split("|"))
    values: dict[str, Any] = {TEXT: text}
    for part in parts:
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals:
            raise ValueError(
                f"{where}: '{part}' behind a '|' is no key=value, with a key of {', '.join(KEYS)}; "
                f'a text with a \'|\' in it is written as JSON: {{"{TEXT}": "a | b"}}'
            )
        _check_key(key, KEYS, where)
        if key in values:
            raise ValueError(f"{where}: the key '{key}' is there twice")
        values[key] = _whole(value, key, where) if key in _WHOLE else value
    return values


def _of_json(line: str, where: str) -> dict[str, Any]:
    """What a line of JSON says."""
    values = parse_json(line, where, _LONGEST)
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise ValueError(f"{where} is a {kind}, expected an object with '{TEXT}', one a line")
    for key, value in values.items():
        _check_key(key, (TEXT, *KEYS), where)
        wanted = int if key in _WHOLE else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            said = "a whole number" if wanted is int else "a text"
            raise ValueError(f"{where}: {key} is {value!r}, expected {said}")
    if TEXT not in values:
        raise ValueError(f"{where}: there is no '{TEXT}'")
    return values


def _check_key(key: str, known: Sequence[str], where: str) -> None:
    if key not in known:
        names = ", ".join(known)
        raise ValueError(f"{where}: no key '{key}'.{nearest(key, known)} Keys: {names}")


def _whole(text: str, key: str, where: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{where}: {key} is '{text}', expected a whole number") from None
