"""The same numbers on one device and on eight, and checkpoints that move between them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.paths import TESTS
from jax.sharding import AbstractMesh, PartitionSpec

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import MeshConfig, keep_batch_split, make_mesh, param_sharding

SCRIPT = ("-m", "helpers.sharded_run")


# Copies of the parameters on every device, which all stages do alike, and parts of them.
COMMON = ("base", "edit", "diffusion_prior")
MESHES = [("base", 8, 1), *((stage, 2, 4) for stage in COMMON)]
OTHERS = ("decoder", "upsampler", "ar_prior", "direct_prior", "puzzles")
SLOW_MESHES = [("edit", 8, 1), *((stage, 2, 4) for stage in OTHERS)]


def train(devices: int, out: Path, runs: list[str]) -> Path:
    """Trains each of the runs "stage:data:fsdp" in one process with so many simulated devices."""
    command = [sys.executable, *SCRIPT, devices, out, *runs]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, timeout=900, cwd=TESTS
    )
    assert done.returncode == 0, done.stderr
    return out


def losses(workdir: Path) -> list[float]:
    records = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records]


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return train(1, tmp_path_factory.mktemp("one"), [f"{stage}:1:1" for stage in COMMON])


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    return train(8, tmp_path_factory.mktemp("eight"), [f"{s}:{d}:{f}" for s, d, f in MESHES])


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "data", "fsdp"), MESHES)
def test_eight_devices_equal_one(one, eight, stage, data, fsdp):
    _check_equal(one, eight, stage, data, fsdp)


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "data", "fsdp"), SLOW_MESHES)
def test_eight_devices_equal_one_in_other_stages(tmp_path, stage, data, fsdp):
    train(1, tmp_path, [f"{stage}:1:1"])
    train(8, tmp_path, [f"{stage}:{data}:{fsdp}"])
    _check_equal(tmp_path, tmp_path, stage, data, fsdp)


def _check_equal(one: Path, eight: Path, stage: str, data: int, fsdp: int) -> None:
    """The runs left the same losses and parameters."""
    name = f"{stage}-{data}x{fsdp}"
    expected, many = (dict(np.load(f)) for f in (one / f"{stage}-1x1.npz", eight / f"{name}.npz"))
    assert (int(many.pop("split")) > 0) == (fsdp > 1)
    np.testing.assert_allclose(losses(eight / name), losses(one / f"{stage}-1x1"), rtol=2e-5)
    for key in many:
        np.testing.assert_allclose(many[key], expected[key], rtol=1e-4, atol=2e-6, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "data", "fsdp"), [(2, 1, 2), (1, 1, 1)])
def test_a_checkpoint_of_eight_devices_restores_on_fewer(eight, tmp_path, devices, data, fsdp):
    name = f"base-{data}x{fsdp}"
    shutil.copytree(eight / "base-2x4", tmp_path / name)
    train(devices, tmp_path, [f"base:{data}:{fsdp}"])
    assert losses(tmp_path / name) == losses(eight / "base-2x4")  # the run was finished
    fewer, whole = (dict(np.load(f)) for f in (tmp_path / f"{name}.npz", eight / "base-2x4.npz"))
    for key in fewer.keys() - {"split"}:
        np.testing.assert_array_equal(fewer[key], whole[key])


def test_parameters_are_split_along_their_longest_divisible_axis():
    mesh = AbstractMesh((2, 4), ("data", "fsdp"))
    assert tuple(param_sharding(mesh, (3, 3, 64, 128), 1).spec) == (None, None, None, "fsdp")
    assert tuple(param_sharding(mesh, (128, 30), 1).spec) == ("fsdp", None)
    assert tuple(param_sharding(mesh, (7, 9), 1).spec) == ()
    assert tuple(param_sharding(mesh, (64,), 65).spec) == ()


def test_meshes_that_do_not_fit_are_errors():
    assert dict(make_mesh(MeshConfig(), jax.devices()[:1]).shape) == {"data": 1, "fsdp": 1}
    with pytest.raises(ConfigError, match="data=3 x fsdp=1 does not fit 1 device"):
        make_mesh(MeshConfig(data=3), jax.devices()[:1])


def test_activations_are_told_to_stay_split_under_a_mesh_of_ours():
    told = lambda x: jax.make_jaxpr(keep_batch_split)(x).eqns
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    assert not told(np.ones((4, 3)))
    with jax.set_mesh(mesh):
        (constraint,) = told(np.ones((4, 3)))
    assert constraint.params["sharding"].spec == PartitionSpec(("data", "fsdp"))
    with jax.sharding.use_abstract_mesh(AbstractMesh((2, 4), ("data", "fsdp"))):
        assert not told(np.ones((4, 3)))  # eight devices do not divide it
