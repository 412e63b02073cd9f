"""A train step on the processors of this machine, seen from outside and from inside."""

import dataclasses

import jax
import pytest
from helpers.tiny_stages import STAGES

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.targets import compilers
from clipdiff_jax.training.targets.compilers import devices_of, environment
from clipdiff_jax.training.targets.names import read_target
from clipdiff_jax.training.targets.training import described_as, study_step

TRAIN = TrainConfig(steps=10, batch_size=4, ema=0.9)


@pytest.fixture(scope="module")
def found():
    return study_step(STAGES["direct_prior"](), TRAIN, read_target("cpu:1"))


@pytest.mark.slow
def test_in_words_and_numbers(found):
    described = described_as(found, TRAIN)
    assert "cpu:1: 1 devices (data=1 x fsdp=1), 4 examples a step" in described["text"]
    assert described["needed"] == sum(described["memory"]["arguments"].values()) + (
        described["memory"]["outputs"] + described["memory"]["temporaries"]
    )
    assert described["times"] is None


def test_memory_by_kind_is_what_xla_counts(found):
    memory = found.study.memory
    four_bytes = 4 * found.parameters
    assert memory.arguments["parameters"] == memory.arguments["average"] == four_bytes
    assert memory.arguments["optimiser"] == pytest.approx(2 * four_bytes, rel=0.01)
    assert memory.temporaries > 0
    assert found.study.flops.total > 1e5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": MeshConfig(fsdp=2)}, "data=-1 x fsdp=2 does not fit 1 device"),
        ({"mesh": MeshConfig(data=8)}, "data=8 x fsdp=1 does not fit 1 device"),
    ],
)
def test_a_mesh_that_does_not_fit(changes, message):
    config = dataclasses.replace(TRAIN, **changes)
    with pytest.raises(ConfigError, match=message):
        study_step(STAGES["direct_prior"](), config, read_target("cpu:1"))


def test_devices_that_were_not_simulated_are_named():
    count = len(jax.devices()) + 1
    with pytest.raises(ConfigError, match=f"device_count={count} in XLA_FLAGS before jax starts"):
        devices_of(read_target(f"cpu:{count}"))


def test_environments(monkeypatch):
    flag = "--xla_force_host_platform_device_count"
    monkeypatch.setenv("XLA_FLAGS", f"--xla_foo=1 {flag}=2")
    assert environment(read_target("cpu:8"))["XLA_FLAGS"] == f"--xla_foo=1 {flag}=8"
    assert environment(read_target("v5e:8"))["JAX_PLATFORMS"] == "cpu"
    assert environment(read_target("h100:8"))["JAX_PLATFORMS"] == ""  # the plugin is needed


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("h100:8", rf"pip install 'jax\[cuda12\]=={jax.__version__}'"),
        ("v5e:2x4", "pip install 'libtpu==.*'"),
    ],
)
def test_a_missing_compiler_is_one_line_with_the_command(monkeypatch, target, command):
    monkeypatch.setattr(compilers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=f"'{target}' is not installed: {command}$"):
        devices_of(read_target(target))
