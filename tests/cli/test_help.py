"""Every option of every command says what it is, and what it is where it is not given."""

import argparse
import re

import pytest

from clipdiff_jax.cli.main import CLIPDIFF, Group


def commands(group, words=()):
    for name, one in group.commands.items():
        if isinstance(one, Group):
            yield from commands(one, (*words, name))
        else:
            yield " ".join((*words, name)), one


def options(command):
    parser = command.parser("clipdiff")
    return [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]


@pytest.mark.parametrize(("name", "command"), commands(CLIPDIFF))
def test_every_option_has_help(name, command):
    missing = [one.dest for one in options(command) if not one.help]
    assert not missing, f"clipdiff {name} has options without help: {missing}"


@pytest.mark.parametrize(("name", "command"), commands(CLIPDIFF))
def test_every_number_says_its_default(name, command):
    numbers = [one for one in options(command) if one.type in (int, float) and not one.required]
    silent = [
        one.dest
        for one in numbers
        if one.default not in (None, argparse.SUPPRESS) and not re.search(r"\(.*\)", one.help)
    ]
    assert not silent, f"clipdiff {name} has numbers whose default is not said: {silent}"


@pytest.mark.parametrize(("name", "command"), commands(CLIPDIFF))
def test_every_command_can_be_quiet_and_speak_json(name, command):
    said = {option for one in options(command) for option in one.option_strings}
    assert ("--quiet" in said) == (name != "completion")  # which says nothing else
    assert ("--json" in said) == (name not in ("app", "completion"))  # a page has no result
