"""Plain argument lines of docstrings become lists on the API pages."""

import importlib.util

import pytest
from helpers.paths import ROOT

pytest.importorskip("griffe")

BEFORE = """What it does.

steps: how often, or
    "glide".
key, noise: of what is drawn.

Raises `ValueError`: see above.

    sample: code is left as it is
"""
AFTER = """What it does.


- **steps**: how often, or
    "glide".
- **key, noise**: of what is drawn.

Raises `ValueError`: see above.

    sample: code is left as it is"""


def test_argument_lines_become_a_list():
    spec = importlib.util.spec_from_file_location("arguments", ROOT / "docs" / "arguments.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.as_list(BEFORE) == AFTER
