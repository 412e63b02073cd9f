"""Shape annotations are checked in every test, and every test runs on the CPU.

Tests compile much and compute little, so the compiler's costly passes are off.
"""

import os
from importlib.util import find_spec

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import pytest
from jaxtyping import install_import_hook

install_import_hook("clipdiff_jax", "beartype.beartype")


@pytest.fixture
def as_on_hopper(monkeypatch):
    """jax asks the GPU at hand what cuDNN can do; here an H100 with cuDNN 9.7 answers."""
    import jax._src.cudnn.fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 90700)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: False)


PARITY = ("torch", "diffusers")  # of what the extra [parity] brings
LONGEST = ("test_sharding.py", "test_notebooks.py")


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left alone with one at the end.

    xdist would put the files of most tests first, were it not for `--no-loadscope-reorder`. Those
    that compare with other libraries are left out where these are not installed.
    """
    items.sort(key=lambda item: item.path.name not in LONGEST)
    missing = [name for name in PARITY if find_spec(name) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"needs {', '.join(missing)}: the extra [parity]")
        for item in items:
            if item.get_closest_marker("parity"):
                item.add_marker(skip)
