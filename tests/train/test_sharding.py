"""The same numbers on one device and on eight, and checkpoints that move between them."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh

from clipdiff_jax.config import ConfigError
from clipdiff_jax.train.sharding import MeshConfig, make_mesh, param_sharding

SCRIPT = Path(__file__).parent / "sharded_run.py"


def run(devices: int, data: int, fsdp: int, stage: str, out: Path, workdir: Path):
    """Trains in a process with that many simulated devices -> (arrays, losses in the log)."""
    command = [SCRIPT, devices, data, fsdp, stage, out, workdir]
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (workdir / "log.jsonl").read_text().splitlines()]
    return dict(np.load(out)), [record["loss"] for record in records]


@pytest.mark.parametrize("stage", ["base", "edit", "diffusion_prior"])
def test_eight_devices_equal_one(tmp_path, stage):
    one, losses = run(1, 1, 1, stage, tmp_path / "1.npz", tmp_path / "w1")
    meshes = [("data", 8, 1), ("fsdp", 2, 4)]
    for name, data, fsdp in meshes if stage in ("base", "edit") else meshes[1:]:
        many, many_losses = run(8, data, fsdp, stage, tmp_path / f"{name}.npz", tmp_path / name)
        assert (int(many.pop("split")) > 0) == (fsdp > 1)
        np.testing.assert_allclose(many_losses, losses, rtol=2e-5)
        for key in many:
            np.testing.assert_allclose(many[key], one[key], rtol=1e-4, atol=2e-6, err_msg=key)


def test_a_checkpoint_of_eight_devices_restores_on_two_and_on_one(tmp_path):
    workdir = tmp_path / "run"
    eight, losses = run(8, 2, 4, "base", tmp_path / "8.npz", workdir)
    for devices, data, fsdp in [(2, 1, 2), (1, 1, 1)]:
        fewer, after = run(devices, data, fsdp, "base", tmp_path / f"{devices}.npz", workdir)
        assert after == losses  # the run was finished: it was restored, and nothing trained
        for key in fewer.keys() - {"split"}:
            np.testing.assert_array_equal(fewer[key], eight[key])


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
