"""Shape annotations are checked in every test, and every test runs on the CPU.

Tests compile much and compute little, so the compiler's costly passes are off.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from jaxtyping import install_import_hook

install_import_hook("clipdiff_jax", "beartype.beartype")


def pytest_collection_modifyitems(items):
    """The longest file first, so that no process is left alone with it at the end."""
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
