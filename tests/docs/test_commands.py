"""Every command line of the documentation is read by the command it names, though not run."""

import ast
import re
import shlex
from pathlib import Path

import pytest
from helpers.paths import ROOT

from clipdiff_jax.cli.main import CLIPDIFF, Group
from clipdiff_jax.core.recipes import find_recipe, load_config
from clipdiff_jax.training.config import RunConfig

SOURCES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "configs").rglob("*.py")),
]
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(clipdiff [^`]+)`")
_DOCSTRING = re.compile(r"^ *(clipdiff [^\\\n]*(?:\\\n[^\\\n]*)*)", re.MULTILINE)
WRITTEN = {"glasses.py"}  # recipes of the reader's


def command_lines(path: Path) -> list[str]:
    """The commands on a page or in the docstring of a recipe; of those in the text the whole ones,
    which have options and stand for nothing else."""
    text = path.read_text()
    if path.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
        found = _DOCSTRING.findall(text)
    else:
        found = [line for block in _BLOCK.findall(text) for line in _DOCSTRING.findall(block)]
    inline = [one for one in _INLINE.findall(text) if "--" in one and "..." not in one]
    joined = [re.sub(r"\\?\n", " ", one) for one in [*found, *inline]]
    return [line for line in joined if "COMMAND" not in line]


LINES = [(path, line) for path in SOURCES for line in command_lines(path)]


def test_there_are_command_lines():
    assert len(LINES) > 40


@pytest.mark.parametrize(
    ("path", "line"), LINES, ids=[f"{path.relative_to(ROOT)}: {line[:60]}" for path, line in LINES]
)
def test_command_line_is_read(path, line):
    words = shlex.split(line, comments=True)[1:]
    target = CLIPDIFF
    while isinstance(target, Group):
        target = target.commands[words.pop(0)]
    args = target.parser("clipdiff").parse_args(words)
    if hasattr(args, "config") and args.config not in WRITTEN | {"edit_presets:NAME"}:
        find_recipe(args.config)
        if target.module == "train":
            load_config(args.config, RunConfig, args.overrides)
