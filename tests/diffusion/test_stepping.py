"""Walks a step at a time: the numbers of one scan, one program, one report for each step."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.core.progress import listening, showing
from clipdiff_jax.diffusion.sampler import Steps, scanned
from clipdiff_jax.diffusion.stepping import stepping

START = jnp.linspace(-1, 1, 6).reshape(2, 3)


def lay_out(x, weights, *, squared):
    """x -> x w + i, or its square; what each step sees is x before it."""

    def body(carry, inputs):
        weight, index = inputs
        moved = carry * weight + index
        return (moved**2 if squared else moved), carry

    return Steps(x, body, (weights, jnp.arange(len(weights))), lambda x, seen: (x, seen))


WEIGHTS = jnp.array([0.5, -0.3, 0.9, 0.1])


def test_the_numbers_are_those_of_one_scan_watched_or_not():
    walk = stepping("walking", static_argnames="squared", keep=True)(lay_out)
    wanted = scanned(lay_out(START, WEIGHTS, squared=True), keep=True)
    heard = []
    with showing(False):
        silent = walk(START, WEIGHTS, squared=True)
    with listening(heard.append):
        watched = walk(START, WEIGHTS, squared=True)
    jax.tree.map(np.testing.assert_array_equal, silent, watched)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), silent, wanted)
    assert heard == [("walking", done, 4) for done in (1, 2, 3, 4)]
    assert walk._cache_size() == 1


def test_a_walk_may_begin_later_and_each_step_may_be_looked_at():
    walk = stepping("walking", static_argnames="squared")(lay_out)
    looked = []
    end, seen = walk(START, WEIGHTS, first=2, squared=False, on_step=lambda *of: looked.append(of))
    assert seen is None
    np.testing.assert_allclose(end, (START * 0.9 + 2) * 0.1 + 3, rtol=1e-6)
    assert [done for done, _ in looked] == [1, 2]
    np.testing.assert_array_equal(looked[0][1], START)


def test_memory_that_is_given_away_is_the_walks_own():
    walk = stepping("walking", static_argnames="squared", donate=True)(lay_out)
    start = START + 0
    first, second = (walk(start, WEIGHTS, squared=False)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(start, START)


def test_a_caller_that_is_traced_has_one_scan_which_is_differentiable():
    walk = stepping("walking", static_argnames="squared")(lay_out)
    heard = []
    with listening(heard.append):
        jitted = jax.jit(lambda x: walk(x, WEIGHTS, squared=False)[0])(START)
        later = jax.jit(lambda x, n: walk(x, WEIGHTS, first=n, squared=False)[0])(START, 2)
        gradient = jax.grad(lambda x: walk(x, WEIGHTS, squared=False)[0].sum())(START)
    np.testing.assert_allclose(jitted, walk(START, WEIGHTS, squared=False)[0], rtol=1e-6)
    np.testing.assert_allclose(later, walk(START, WEIGHTS, first=2, squared=False)[0], rtol=1e-6)
    np.testing.assert_allclose(gradient, np.full((2, 3), np.prod(WEIGHTS)), rtol=1e-5)
    assert heard == []


def test_ctrl_c_stops_after_the_step():
    walk = stepping("walking", static_argnames="squared")(lay_out)

    def stop(now):
        if now.done == 2:
            raise KeyboardInterrupt

    looked = []
    with pytest.raises(KeyboardInterrupt), listening(stop):
        walk(START, WEIGHTS, squared=False, on_step=lambda done, _: looked.append(done))
    assert len(looked) < len(WEIGHTS)


EIGHT = """
import jax, numpy as np
from clipdiff_jax.core.devices import data_mesh, replicated, split_batch
from clipdiff_jax.core.progress import listening
from test_stepping import WEIGHTS, lay_out
from clipdiff_jax.diffusion.stepping import stepping
mesh = data_mesh()
assert mesh.size == 8
x = np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3)
walk, heard = stepping("walking", static_argnames="squared")(lay_out), []
with listening(heard.append):
    split = walk(split_batch(mesh, x), jax.device_put(WEIGHTS, replicated(mesh)), squared=True)[0]
assert [now.done for now in heard] == [1, 2, 3, 4], heard
assert walk._cache_size() == 1
assert len(split.sharding.device_set) == 8 and not split.is_fully_replicated
np.testing.assert_allclose(split, walk(x, WEIGHTS, squared=True)[0], rtol=1e-6)
"""


@pytest.mark.slow
def test_eight_devices_report_each_step_once():
    flags = "--xla_force_host_platform_device_count=8"
    path = os.pathsep.join([os.path.dirname(__file__), *sys.path])
    environment = {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", EIGHT], env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
