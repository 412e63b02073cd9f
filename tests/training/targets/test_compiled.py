"""Every stage and every recipe of the demo, compiled by XLA for accelerators that are not here.

    make test-targets            for TPUs; CUDA=1 for NVIDIA's GPUs too

What has no compiler installed is skipped.
"""

import json
import os
import subprocess
import sys

import pytest
from helpers.paths import TESTS
from helpers.tiny_stages import STAGES

from clipdiff_jax.cli.on_targets import ask
from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.targets.compilers import check_compiler, environment
from clipdiff_jax.training.targets.names import read_target

pytestmark = pytest.mark.target

TARGETS = ("v5e:2x4", "h100:8")
RUNS = [*(f"{stage}:bfloat16:4" for stage in STAGES), "base:float32:1"]
RECIPES = (
    "avatars/base",
    "avatars/clip",
    "avatars/edit_smile",
    "unclip/avatars/prior",
    "unclip/avatars/ar_prior",
    "unclip/avatars/direct_prior",
    "unclip/avatars/decoder",
    "unclip/avatars/upsampler",
)


@pytest.fixture(scope="module", params=TARGETS)
def target(request):
    found = read_target(request.param)
    try:
        check_compiler(found)
    except ConfigError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="module")
def compiled(target):
    """Of each run, what was read of its program; all of one target in one process."""
    variables = dict(os.environ)
    for name, value in environment(target).items():
        variables.pop(name, None)
        if value:
            variables[name] = value
    variables.pop("JAX_DISABLE_MOST_OPTIMIZATIONS", None)
    runs = [*RUNS, "sampling:float32:1"]
    command = [sys.executable, "-m", "helpers.target_run", target.name, *runs]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=TESTS)
    found = {}
    for line in done.stdout.splitlines():
        found |= json.loads(line)
    return found, done.stderr


@pytest.mark.parametrize("run", RUNS)
def test_train_steps_compile(target, compiled, run):
    found, stderr = compiled
    assert run in found, stderr[-2000:]
    made, (_, dtype, fsdp) = found[run], run.split(":")
    assert made["fits"].startswith("fits in")
    gathers = any(kind in made["collectives"] for kind in ("all-gather", "all-reduce"))
    assert gathers or fsdp == "1"
    if target.platform == "gpu" and dtype == "bfloat16":
        assert any("fmha" in name for name in made["counts"])
    if target.platform == "gpu" and fsdp != "1":  # gradients go to who keeps them, not to all
        assert made["collectives"].get("reduce-scatter", 0) >= 1


def test_pictures_that_devices_share_need_no_collective(target, compiled):
    found, stderr = compiled
    assert "sampling:float32:1" in found, stderr[-2000:]
    assert found["sampling:float32:1"]["collectives"] == {}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_demo_compile_and_fit(target, name):
    batch = load_config(name, RunConfig).train.batch_size
    rounded = -(-batch // target.count) * target.count
    overrides = [] if rounded == batch else [f"train.batch_size={rounded}"]
    reply = ask(target, {"command": "train", "config": name, "overrides": overrides})
    assert reply["fits"].startswith("fits in")
    assert reply["times"]["matrix"] > 0
    assert reply["times"]["memory"] > 0


def test_sampling_of_the_demo_compiles(target):
    from clipdiff_jax.diffusion.sampling import Sampling

    asked = {"command": "generate", "model": "demo", "dtype": "bfloat16", "batch": 8}
    reply = ask(target, asked | {"sampling": Sampling(steps=10).to_dict()})
    (sampling,) = reply["parts"].values()
    assert sampling["fits"].startswith("fits in")
    assert sampling["collectives"] == {}
