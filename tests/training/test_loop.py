"""`fit`: exact resume, SIGTERM, SIGKILL at any moment, bad numbers, and what it leaves on disk."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.killed_run import killable
from helpers.paths import TESTS
from helpers.toy import CONFIG, toy_stage

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.training.checkpoint import Checkpoints
from clipdiff_jax.training.compiled import dry_run
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import NotFinite, fit
from clipdiff_jax.training.termination import Termination


def assert_equal(a, b):
    """Bit for bit, random keys included."""
    a, b = (s._replace(key=jax.random.key_data(s.key)) for s in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    whole = fit(toy_stage(), CONFIG)
    # The schedule needs the final number of steps, so the first part is stopped, not shortened.
    stop(tmp_path, 7, signal.SIGTERM)
    assert_equal(fit(toy_stage(), CONFIG, tmp_path), whole)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_save_too(tmp_path, told):
    # Batches are drawn ahead, so that it may come a step or two sooner: none of these is due.
    rarely = replace(CONFIG, checkpoint=replace(CONFIG.checkpoint, every=CONFIG.steps))
    stop(tmp_path, 5, told, rarely)
    checkpoints = Checkpoints(tmp_path / "checkpoints", rarely.checkpoint)
    assert checkpoints.latest is not None
    assert checkpoints.latest % rarely.checkpoint.every  # not one of those that are due anyway
    checkpoints.close()


def test_without_somewhere_to_save_ctrl_c_stops_at_once():
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)]
    with Termination(saves=False) as termination:
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGHUP)] == before[:2]
        os.kill(os.getpid(), signal.SIGTERM)
        assert termination.requested(1)
        assert termination.signal is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before[2]


def stop(folder: Path, after: int, told: signal.Signals, config: TrainConfig = CONFIG) -> None:
    """Trains, and sends a signal while batch `after` is drawn."""
    stage, seen = toy_stage(), []

    def transform(example, rng):
        seen.append(1)
        if len(seen) == after * config.batch_size:
            os.kill(os.getpid(), told)
        return stage.transform(example, rng)

    with pytest.raises(SystemExit) as stopped:
        fit(replace(stage, transform=transform), config, folder)
    assert stopped.value.code == 128 + told


def test_log_and_checkpoints_on_disk(tmp_path):
    fit(toy_stage(), CONFIG, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [4, 8, 12]
    assert {"loss", "grad_norm", "drawn", "examples_per_s"} <= records[0].keys()
    kept = sorted(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert kept == [8, 12]
    # A finished run has nothing left to do, and says the same again.
    assert int(fit(toy_stage(), CONFIG, tmp_path).step) == 12


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    fit(toy_stage(), replace(CONFIG, steps=4), tmp_path)
    good = Checkpoints(tmp_path / "checkpoints", CONFIG.checkpoint)
    assert good.latest == 4
    good.close()
    with pytest.raises(NotFinite, match=r"step [56]: loss inf.*checkpoint 4 is good"):
        fit(toy_stage(blow_up_at=-100.0), CONFIG, tmp_path)
    after = Checkpoints(tmp_path / "checkpoints", CONFIG.checkpoint)
    assert after.latest == 4
    after.close()


def test_start_is_where_training_begins():
    stage = toy_stage()
    start = jax.tree.map(np.asarray, stage.init(jax.random.key(99)))
    state = fit(replace(stage, start=start), replace(CONFIG, steps=1, ema=0.0))
    assert np.abs(np.asarray(state.params["out"]) - start["out"]).max() < 0.011


def test_configs_that_cannot_work():
    with pytest.raises(ConfigError, match="does not divide"):
        TrainConfig(batch_size=8, accumulate=3)
    with pytest.raises(ConfigError, match="does not fit 1 device"):
        fit(toy_stage(), replace(CONFIG, mesh=MeshConfig(fsdp=3)))


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    fit(toy_stage(), replace(CONFIG, steps=1), tmp_path)
    with pytest.raises(ConfigError, match=r"ema/dense/bias: \(8,\) stored, \(6,\) wanted"):
        fit(toy_stage(width=6), replace(CONFIG, steps=2), tmp_path)
    with pytest.raises(ConfigError, match=r"ema/dense/bias: \(8,\) stored, None wanted"):
        fit(toy_stage(), replace(CONFIG, steps=2, ema=0.0), tmp_path)


def test_dry_run_counts_parameters():
    text = dry_run(toy_stage(), CONFIG)["text"]
    assert "parameters   80" in text
    assert "temporaries" in text


@pytest.mark.slow
def test_killed_ten_times_and_still_the_same(tmp_path):
    """SIGKILL at random moments: no completed checkpoint is lost, and the end is bit-equal."""
    killed = subprocess.run(
        [sys.executable, "-m", "helpers.killed_run", tmp_path],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=TESTS,
    )
    assert killed.returncode == 0, killed.stderr
    report = json.loads(killed.stdout)
    assert len(report["complete_after_kill"]) == 10
    assert report["complete_after_kill"] == sorted(report["complete_after_kill"])
    config = killable(CONFIG)
    assert report["complete_after_kill"][-1] < config.steps
    assert_equal(fit(toy_stage(), config, tmp_path / "run"), fit(toy_stage(), config))
