"""A work folder belongs to its config and its data."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers.toy import CONFIG, toy_stage

from clipdiff_jax.core.config import ConfigError, to_dict
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.workdir import check_workdir, describe_workdir, one_trainer

UNET = UNetConfig(channels=(8,), blocks=1, attention_levels=(), norm_groups=4)
STAGE = BaseStage(data=FolderData("photos"), model=DiffusionConfig(unet=UNET, image_size=8))
RUN = RunConfig(STAGE, CONFIG)


@pytest.fixture
def begun(tmp_path):
    describe_workdir(RUN, "of-data", tmp_path)
    return tmp_path


def test_the_same_run_goes_on_in_silence(begun, caplog):
    check_workdir(RUN, "of-data", begun)
    assert not caplog.records


def test_what_is_learned_may_not_change(begun):
    other = replace(RUN, stage=replace(STAGE, weighting="min_snr"))
    with pytest.raises(ConfigError, match=r"stage\.weighting='uniform', not 'min_snr'"):
        check_workdir(other, "of-data", begun)
    wider = replace(UNET, channels=(16,))
    other = replace(RUN, stage=replace(STAGE, model=DiffusionConfig(unet=wider, image_size=8)))
    with pytest.raises(ConfigError, match=r"stage\.model\.unet\.channels=\[8\], not \[16\]"):
        check_workdir(other, "of-data", begun)
    with pytest.raises(ConfigError, match=r"other data .*of-data, now others"):
        check_workdir(RUN, "others", begun)


def test_how_it_is_trained_may_change_and_is_said(begun, caplog):
    train = replace(CONFIG, steps=CONFIG.steps + 1, batch_size=2 * CONFIG.batch_size)
    moved = replace(STAGE, data=FolderData("moved/photos"), preview_count=1)
    check_workdir(RunConfig(moved, train), "of-data", begun)
    assert f"train.steps was {CONFIG.steps}" in caplog.text
    assert "stage.data.path was 'photos'" in caplog.text
    lines = {line.args[0]: line.getMessage() for line in caplog.records}
    assert "no longer bit for bit" in lines["train.batch_size"]
    assert "bit for bit" not in lines["train.steps"]


def test_another_number_of_devices_is_said(begun, caplog):
    data = json.loads((begun / "data.json").read_text())
    (begun / "data.json").write_text(json.dumps(data | {"devices": 8}))
    check_workdir(RUN, "of-data", begun)
    assert "was trained on 8 device(s), now on 1" in caplog.text
    assert "no longer bit for bit" in caplog.text


@pytest.mark.parametrize(("name", "content"), [("config.json", "[1]"), ("data.json", "3")])
def test_what_is_no_description_is_named(begun, name, content):
    (begun / name).write_text(content)
    with pytest.raises(ConfigError, match=rf"{name}' holds a (list|int), expected an object"):
        check_workdir(RUN, "of-data", begun)


def test_a_folder_is_described_anew_only_where_it_says_something_else(begun):
    before = (begun / "config.json").read_text()
    old = json.loads(before)
    old["stage"]["start"] = ""  # as version 0.1 wrote what is None now
    (begun / "config.json").write_text(json.dumps(old))
    check_workdir(RUN, "of-data", begun)
    describe_workdir(RUN, "of-data", begun)
    assert json.loads((begun / "config.json").read_text()) == old
    longer = replace(RUN, train=replace(CONFIG, steps=CONFIG.steps + 1))
    describe_workdir(longer, "of-data", begun)
    assert json.loads((begun / "config.json").read_text()) == to_dict(longer)


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "a+")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("4711"); file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_trainer_at_a_time(tmp_path):
    """The second is told by whom the folder is held; a killed one holds nothing."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match=r"process 4711 is training in"):
            fit(toy_stage(), CONFIG, tmp_path)
        other.kill()
        other.wait()
    with one_trainer(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    with one_trainer(tmp_path):
        pass
