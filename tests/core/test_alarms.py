"""XLA's alarms about compilations that take long do not reach whoever imports the library."""

import os
import subprocess
import sys

import pytest

# Folding these constants takes XLA more than the second after which it complains.
SLOW = """
import jax, numpy as np
x = np.ones((1, 1, 60, 60), np.float32)
window = (1, 1, 21, 21)
f = lambda: jax.lax.reduce_window(jax.numpy.asarray(x), 0.0, jax.lax.add, window, (1,) * 4, "SAME")
jax.jit(f).lower().compile()
"""


def said(program):
    environment = {name: value for name, value in os.environ.items() if "TF_CPP" not in name}
    environment |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "0"}
    environment.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True)
    assert run.returncode == 0, run.stderr.decode()
    return run.stderr.decode()


@pytest.mark.slow
def test_alarms_are_not_shown():
    assert "Constant folding" in said(SLOW)  # or there is nothing to silence
    assert said(f"import clipdiff_jax\n{SLOW}") == ""


def test_the_users_own_level_stays():
    program = "import clipdiff_jax, os; assert os.environ['TF_CPP_MIN_LOG_LEVEL'] == '0'"
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0
