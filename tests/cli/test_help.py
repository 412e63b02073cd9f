"""Every option of every command says what it is, and what it is where it is not given."""

import argparse
import importlib
import re

import pytest

from clipdiff_jax.cli.main import CLIPDIFF, Group
from clipdiff_jax.cli.parser import Parser


def commands(group, words=()):
    for name, one in group.commands.items():
        if isinstance(one, Group):
            yield from commands(one, (*words, name))
        else:
            yield " ".join((*words, name)), one.module


def options(module):
    parser = Parser(prog="clipdiff")
    importlib.import_module(f"clipdiff_jax.cli.{module}").add_arguments(parser)
    return [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]


@pytest.mark.parametrize(("name", "module"), commands(CLIPDIFF))
def test_every_option_has_help(name, module):
    missing = [one.dest for one in options(module) if not one.help]
    assert not missing, f"clipdiff {name} has options without help: {missing}"


@pytest.mark.parametrize(("name", "module"), commands(CLIPDIFF))
def test_every_number_says_its_default(name, module):
    numbers = [one for one in options(module) if one.type in (int, float) and not one.required]
    silent = [
        one.dest
        for one in numbers
        if one.default not in (None, argparse.SUPPRESS) and not re.search(r"\(.*\)", one.help)
    ]
    assert not silent, f"clipdiff {name} has numbers whose default is not said: {silent}"
