"""Files and names that the documentation and the docstrings mention exist."""

import importlib
import re
from pathlib import Path

import pytest
from helpers.paths import ROOT

import clipdiff_jax as cd

PACKAGE = ROOT / "clipdiff_jax"
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
PAGES = [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
SOURCES = [
    *sorted(PACKAGE.rglob("*.py")),
    *sorted((ROOT / "configs").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
]
_FILE = re.compile(r"`([\w-]+(?:/[\w-]+)*\.(?:py|md|ipynb))(?::\w+)?`")
_NAME = re.compile(rf"`((?:{'|'.join(ROOMS)})(?:\.(?!json|py)\w+)+)(?:\(.*?\))?`")
HISTORY = ROOT / "CHANGELOG.md"  # tells of modules that are no more
WRITTEN = {"glasses.py", "scores.md"}  # by the reader, by a command
VARIABLES = {"clip": cd.Clip, "edit": cd.Edit, "unclip": cd.UnClip}  # named as rooms are


def is_known(name: str) -> bool:
    """Whether `a.b.c` is a module of ours or something in one."""
    parts = name.split(".")
    if hasattr(VARIABLES.get(parts[0]), parts[1]):
        return True
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["clipdiff_jax", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(found, "__dataclass_fields__", {})
            if not hasattr(found, part) and part not in fields:
                return False
            found = getattr(found, part, None)
        return True
    return False


@pytest.mark.parametrize("path", [*PAGES, *SOURCES], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_mentioned_exists(path):
    if path == HISTORY:
        return
    text = path.read_text()
    folders = (ROOT, PACKAGE, path.parent, ROOT / "tests", ROOT / "configs")
    files = [
        name
        for name in _FILE.findall(text)
        if Path(name).name not in WRITTEN
        and not any((folder / name).is_file() for folder in folders)
    ]
    names = [name for name in _NAME.findall(text) if not is_known(name)]
    assert not files + names
