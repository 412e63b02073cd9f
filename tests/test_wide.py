"""With jax's 64-bit numbers on, and on many devices: everything runs, in a process of its own."""

import os
import subprocess
import sys

import pytest
from helpers.paths import TESTS

pytestmark = pytest.mark.slow


def run(what, **environment) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "helpers.wide_run", what],
        capture_output=True, text=True, cwd=TESTS, timeout=1500, check=False,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_with_64_bit_numbers_results_are_float32():
    lines = run("calls", JAX_ENABLE_X64="1")
    assert len(lines) > 15
    assert [line for line in lines if not line.endswith("; float32")] == []


def test_on_eight_devices_with_the_defaults():
    """Batches of 4, 3 and 1 pictures are rounded up."""
    lines = run("devices", XLA_FLAGS="--xla_force_host_platform_device_count=8")
    assert lines == ["devices 8", "3 True", "8 True", "trained 2"]
