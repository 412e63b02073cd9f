"""Two processes that train together, as two hosts do, leave what one process leaves."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
from helpers.paths import TESTS

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import MeshConfig, join_hosts


def start(stage: str, fsdp: int, out, **variables: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "helpers.hosts_run", stage, str(fsdp), str(out)]
    return subprocess.Popen(
        command, cwd=TESTS, env={**os.environ, **variables}, stderr=subprocess.PIPE, text=True
    )


def finish(*processes: subprocess.Popen) -> None:
    for process in processes:
        _, stderr = process.communicate(timeout=900)
        assert process.returncode == 0, stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "fsdp"), [("direct_prior", 2)])
def test_two_processes_equal_one(tmp_path, stage, fsdp):
    finish(start(stage, fsdp, tmp_path / "one"))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    told = {"JAX_COORDINATOR_ADDRESS": f"localhost:{port}", "JAX_NUM_PROCESSES": "2"}
    finish(*(start(stage, fsdp, tmp_path / "two", **told, JAX_PROCESS_ID=i) for i in "01"))
    one, two = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("one", "two"))
    assert int(one.pop("devices")) == int(two.pop("devices")) == 4
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-4, atol=2e-6, err_msg=name)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    assert [len(log) for log in logs] == [4, 4]
    for name in ("one", "two"):
        assert (tmp_path / name / "model").is_dir()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"JAX_PROCESS_ID": "0"}, "JAX_COORDINATOR_ADDRESS and JAX_NUM_PROCESSES must be set too"),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID=2 of JAX_NUM_PROCESSES=2",
        ),
        (
            {"JAX_COORDINATOR_ADDRESS": "h:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"},
            "JAX_NUM_PROCESSES=two",
        ),
    ],
)
def test_hosts_that_are_told_half(monkeypatch, told, message):
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        join_hosts(MeshConfig(distributed=True))


def test_one_host_joins_nobody():
    join_hosts(MeshConfig())
