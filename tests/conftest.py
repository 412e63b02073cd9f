"""Shape annotations are checked in every test, and every test runs on the CPU."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from jaxtyping import install_import_hook

install_import_hook("clipdiff_jax", "beartype.beartype")
