"""The front door: every public name is there, is imported late, and stays what it is."""

import inspect
import subprocess
import sys

import pytest
from helpers.tiny_models import pictures, tiny_base

import clipdiff_jax as cd


def test_every_name_is_there():
    assert list(cd.__all__) == sorted(cd.__all__)
    for name in cd.__all__:
        assert callable(getattr(cd, name)), name
        assert name in dir(cd)
    with pytest.raises(AttributeError, match="no attribute 'generate'"):
        cd.generate  # noqa: B018


def test_importing_the_package_imports_nothing_of_it():
    code = "import sys, clipdiff_jax; print(sorted(m for m in sys.modules if 'clipdiff_jax.' in m))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_the_folder_of_the_edit_is_called_as_the_edit():
    """Both have one name in the package, and importing the folder's modules must not matter."""
    from clipdiff_jax.edit.api import edit

    assert cd.edit is sys.modules["clipdiff_jax.edit"]
    assert inspect.signature(cd.edit) == inspect.signature(edit)
    with pytest.raises(ValueError, match="no edit given"):
        cd.edit(pictures(1), tiny_base(), [])
