"""What commands say: results on standard output, in words or as one JSON document.

    note("3 pictures are in 'out'", folder="out", pictures=[...])     what lies in files
    tell("1 of 2 pictures is signed", signed=1)                       what was asked for

All else (bars, what happens meanwhile, warnings) is for standard error. With `--json` the values
of a command are printed together when it has succeeded; with `--quiet` nothing is said but what was
asked for, warnings and errors.
"""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Speaker:
    """How a command says its results, and their values so far.

    Attributes:
      quiet: whether notes are left out.
      as_json: whether values are printed in place of words.
      values: what is printed then; lists of one name are joined.
    """

    quiet: bool = False
    as_json: bool = False
    values: dict[str, Any] = field(default_factory=dict)

    def say(self, words: str, values: dict[str, Any], *, asked: bool) -> None:
        """Words at once, or values for later; asked: whether `--quiet` leaves them."""
        if not self.as_json:
            if asked or not self.quiet:
                print(words, flush=True)
            return
        for name, value in values.items():
            before = self.values.get(name)
            if isinstance(before, list) and isinstance(value, list):
                value = [*before, *value]
            self.values[name] = value


_SPEAKER: ContextVar[Speaker | None] = ContextVar("speaker", default=None)


def add_arguments(parser: argparse.ArgumentParser, *, result: bool = True) -> None:
    """How the command speaks; result: whether it has one that can be JSON."""
    group = parser.add_argument_group("what the command says")
    group.add_argument(
        "--quiet", action="store_true",
        help="no bars and no notes: only what was asked for, warnings and errors (default: all)",
    )  # fmt: skip
    if result:
        group.add_argument(
            "--json", action="store_true",
            help="the result as one JSON document on standard output, all else on standard error "
            "(default: words)",
        )  # fmt: skip


def tell(words: str, **values: Any) -> None:
    """Says what a command was asked for: words, or with `--json` the values."""
    _speaker().say(words, values, asked=True)


def note(words: str, **values: Any) -> None:
    """The same of what lies in files, of which `--quiet` says nothing."""
    _speaker().say(words, values, asked=False)


@contextlib.contextmanager
def speaking(args: argparse.Namespace, command: str) -> Iterator[None]:
    """Within, `tell` and `note` are as the options say. At the end the JSON is printed, unless the
    command has failed; what else is printed meanwhile goes to standard error."""
    speaker = Speaker(args.quiet, getattr(args, "json", False), {"command": command})
    token = _SPEAKER.set(speaker)
    try:
        if not speaker.as_json:
            yield
            return
        with contextlib.redirect_stdout(sys.stderr):
            yield
        print(json.dumps(finite(speaker.values), allow_nan=False, default=_plain), flush=True)
    finally:
        _SPEAKER.reset(token)


def finite(values: Any) -> Any:
    """Values as JSON has them: null for a number that is not known or not finite."""
    if isinstance(values, dict):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def _plain(value: Any) -> Any:
    """A number of numpy's, or the words for what JSON does not have, such as a path."""
    return finite(value.item()) if hasattr(value, "item") else str(value)


def _speaker() -> Speaker:
    return _SPEAKER.get() or Speaker()
