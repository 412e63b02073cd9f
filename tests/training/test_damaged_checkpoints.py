"""Damaged checkpoints: the newest good one is taken, the damaged one kept; what is saved is good.

`python -m helpers.damaged_checkpoints --count 1000` does the same a thousand times.
"""

import json
import logging
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers.damaged_checkpoints import RUN, make_good, one_case, trained
from helpers.toy import toy_stage
from orbax.checkpoint import v1 as ocp

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.checkpoint import CheckpointConfig, Checkpoints, NotFinite
from clipdiff_jax.training.checkpoint_record import METADATA, read_record
from clipdiff_jax.training.checksums import host_checksum, not_finite, tree_checksums
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.state import TrainState


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good") / "run"
    return folder, make_good(folder)


COUNT = 6


@pytest.mark.parametrize(
    "seeds",
    [range(COUNT), pytest.param(range(COUNT, 100), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_the_run_goes_on_from_the_newest_good_checkpoint(good, seeds):
    for seed in seeds:
        result, how = one_case(*good, seed)
        assert result in ("resuming from step 4", "resuming from step 6"), (seed, how)


def test_flipped_numbers_are_noticed_and_the_file_of_another_kind_is_named(good, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(good[0], run)
    checkpoints = run / "checkpoints"
    data = max((checkpoints / "6").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 16
    data.write_bytes(content)
    sharding = checkpoints / "4" / "state" / "_METADATA"
    sharding.unlink()
    with caplog.at_level(logging.WARNING):
        end = trained(run, 8)
    assert "checkpoint 6 is damaged" in caplog.text
    assert f"'{sharding}' is missing. It is kept as '{checkpoints / '4.aside'}'" in caplog.text
    assert "going on from checkpoint 2" in caplog.text
    assert sorted(p.name for p in checkpoints.glob("*.aside")) == ["4.aside", "6.aside"]
    assert all(end[name].tobytes() == array.tobytes() for name, array in good[1].items())


def test_all_damaged_is_an_error_that_names_them_and_moves_nothing(good, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(good[0], run)
    for step in (2, 4, 6):
        (run / "checkpoints" / str(step) / METADATA).write_bytes(b"")
    with pytest.raises(ConfigError, match=r"checkpoint 6: .*has 0 bytes.*checkpoint 4: .*anew"):
        trained(run, 8)
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4", "6"]


def test_an_older_folder_that_is_no_checkpoint_is_kept_too(good, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(good[0], run)
    photos = run / "checkpoints" / "3"
    photos.mkdir()
    (photos / "holiday.jpg").write_bytes(b"me")
    trained(run, 10)
    assert (run / "checkpoints" / "3.aside" / "holiday.jpg").read_bytes() == b"me"
    kept = sorted(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdecimal())
    assert kept == [6, 8, 10]


def test_a_checkpoint_without_a_record_is_read_as_before(good, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(good[0], run)
    for step in (2, 4, 6):
        path = run / "checkpoints" / str(step) / METADATA
        path.write_text(json.dumps(json.loads(path.read_text()) | {"custom_metadata": {}}))
        (path.parent / "files.json").unlink()
    end = trained(run, 8)
    assert all(end[name].tobytes() == array.tobytes() for name, array in good[1].items())


def test_after_a_divergence_the_checkpoint_that_is_named_was_read(good, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(good[0], run)
    stage = replace(toy_stage(64, blow_up_at=-100.0))
    broken = run / "checkpoints" / "6"

    def damage(*_):
        (broken / "state" / "manifest.ocdbt").write_bytes(b"")

    with pytest.raises(NotFinite, match=r"step 7: loss inf.*; checkpoint 4 is good"):
        fit(stage, replace(RUN, steps=8), run, started=damage)


def _state(params):
    return TrainState(jnp.int32(1), params, (), None, jax.random.key(0))


def test_what_is_not_finite_is_not_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    checkpoints.save(_state({"a": jnp.ones(3)}), 1)
    bad = {"a": jnp.ones(3), "b": jnp.array([1.0, jnp.nan])}
    with pytest.raises(
        NotFinite, match=r"step 2: numbers in params/b are .*; checkpoint 1 is good"
    ):
        checkpoints.save(_state(bad), 2)
    assert checkpoints.latest == 1
    checkpoints.close()


def test_a_save_under_way_is_not_complete(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())
    monkeypatch.setattr(ocp.training.Checkpointer, "wait", lambda self: None)
    checkpoints.save(_state({"a": jnp.ones(300_000)}), 1)
    assert checkpoints.latest is None
    assert checkpoints.good() == "there is no good checkpoint yet"
    monkeypatch.undo()
    checkpoints.close()
    assert checkpoints.latest == 1
    assert read_record(tmp_path / "1").arrays["params/a"].shape == (300_000,)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint32", "bool", "int8", "float16"])
def test_checksums_tell_every_bit_and_every_place(dtype):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2 if dtype == "bool" else 256, (3, 5, 8), np.uint8)
    array = bits.view(getattr(ml_dtypes, dtype, dtype))
    sums = {tree_checksums({"a": jnp.asarray(array)})["a"], host_checksum(array)}
    assert len(sums) == 1
    flat = bits.reshape(-1)
    for at in range(flat.size):
        changed = flat.copy()
        changed[at] ^= 1 if dtype == "bool" else 1 << int(rng.integers(8))
        sums.add(host_checksum(changed.view(array.dtype).reshape(array.shape)))
    assert len(sums) == flat.size + 1
    swapped = array.copy()
    swapped[0], swapped[1] = array[1], array[0]
    assert host_checksum(swapped) not in sums


def test_checksums_of_parts_on_devices_are_those_of_the_whole():
    array = jnp.arange(24.0).reshape(4, 6)
    mesh = jax.make_mesh((jax.device_count(),), ("x",))
    spread = jax.device_put(array, jax.NamedSharding(mesh, jax.P("x")))
    assert tree_checksums({"a": spread})["a"] == host_checksum(np.asarray(array))
    assert not_finite({"a": array.at[3, 5].set(jnp.inf), "b": array, "n": jnp.arange(3)}) == ["a"]
