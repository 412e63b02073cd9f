"""What can be written after `clipdiff`: every command, its options, and what each of these takes.

The table is made from the parsers of the commands, which import all of the library; so it is kept
in a file of the package, and a test says when that is no longer what the parsers are:

    python -m clipdiff_jax.cli.completion.table        writes it again
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clipdiff_jax
from clipdiff_jax.cli.main import CLIPDIFF, Command, Group
from clipdiff_jax.core.files import write_whole

STORED = Path(clipdiff_jax.__file__).parent / "assets" / "completion.json"
FILES, RECIPES, EDITS = "files", "recipes", "edits"  # what options take that no table can list
_LONGEST = 72  # characters of a description
_PLACES = ("FILE", "FOLDER", "PATH", "PICTURE", "CLIP", "MODEL", "CERTIFICATE", "KEY")
_NAMED = {"--config": RECIPES, "--edit": EDITS, "--model": FILES, "--clip": FILES}
Table = dict[str, Any]


def make_table(group: Group = CLIPDIFF) -> Table:
    """The table by the words of a command, such as "watermark new"; of all commands "" is first.

    Of a group: {"commands": name -> help}. Of a command: {"options": name -> {"help", "takes"},
    "words": choices of what it takes without an option}, where "takes" is a list of choices, one of
    the words above, "value", or None for a switch, and "several" says that it takes more than one.
    """
    return dict(_tables(group, ()))


def stored_table() -> Table:
    """The table in the package."""
    table: Table = json.loads(STORED.read_text("utf-8"))
    return table


def text_of(table: Table) -> str:
    """A table as the file in the package, a line for each command and option."""
    return json.dumps(table, indent=1, sort_keys=True) + "\n"


def _tables(group: Group, words: tuple[str, ...]) -> Iterator[tuple[str, Table]]:
    commands = {name: _short(one.help) for name, one in group.commands.items()}
    yield " ".join(words), {"commands": commands}
    for name, one in group.commands.items():
        if isinstance(one, Group):
            yield from _tables(one, (*words, name))
        else:
            yield " ".join((*words, name)), _of_command(one)


def _of_command(command: Command) -> Table:
    options, words = {}, []
    for action in command.parser("clipdiff")._actions:
        if not action.option_strings:
            words += list(action.choices or ())
        for name in action.option_strings:
            if name.startswith("--"):
                several = action.nargs in ("+", "*") or isinstance(action.nargs, int)
                options[name] = {
                    "help": _short(action.help or ""),
                    "takes": _takes(action, name),
                    "several": several and action.nargs != 0,
                }
    return {"options": options, "words": words}


def _takes(action: argparse.Action, name: str) -> Any:
    if action.nargs == 0:
        return None
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if name in _NAMED:
        return _NAMED[name]
    metavar = action.metavar if isinstance(action.metavar, tuple) else (action.metavar,)
    return FILES if action.type is Path or set(metavar) & set(_PLACES) else "value"


def _short(text: str) -> str:
    """The first clause of a help, for a line beside the option."""
    text = text.replace("%%", "%").partition(";")[0].strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3].rstrip() + "..."


if __name__ == "__main__":
    write_whole(STORED, text_of(make_table()).encode())
