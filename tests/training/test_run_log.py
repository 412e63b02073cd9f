"""What a run leaves to look at: lines, curves, labelled previews, and what trackers are told."""

import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.run_log import RunLog, read_log
from clipdiff_jax.training.stage import Captioned

CONFIG = TrainConfig()
BATCH = np.zeros((4, 8, 8, 3), np.float32)


def test_curves_are_drawn_of_the_log(tmp_path):
    log = RunLog(tmp_path, CONFIG)
    for step in (1, 2, 3):
        log.metrics(step, {"grad_norm": 1.0, "loss": 1 / step})
    assert not (tmp_path / "curves.png").exists()  # not with every line
    log.close()
    assert Image.open(tmp_path / "curves.png").size == (960, 270)
    assert list(read_log(tmp_path / "log.jsonl")) == ["loss", "grad_norm"]


def test_a_log_of_a_run_that_was_resumed_or_broke_off(tmp_path):
    lines = [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 9.0}, {"step": 2, "loss": 2.0}]
    text = (
        "".join(json.dumps(line) + "\n" for line in lines) + '[1, 2]\n{"loss": 1}\n{"step": 3, "lo'
    )
    (tmp_path / "log.jsonl").write_text(text)
    assert read_log(tmp_path / "log.jsonl") == {"loss": [(1, 3.0), (2, 2.0)]}


def test_previews_of_one_number_are_rows_of_one_sheet(tmp_path):
    log = RunLog(tmp_path, CONFIG)
    told = Captioned(BATCH, ["a face", "a smiling face"])
    log.preview(50, {"samples": told, "originals": BATCH})
    log.preview(60, {"samples": BATCH, "few": BATCH[:1]})
    names = sorted(path.name for path in (tmp_path / "previews").iterdir())
    assert names == ["few-0000060.png", "samples-0000050.png", "samples-0000060.png"]
    with Image.open(tmp_path / "previews" / "samples-0000050.png") as both:
        assert both.width > 4 * 96  # four pictures and the labels of the rows
        assert both.height > 2 * 96 + 20  # and captions
    with Image.open(tmp_path / "previews" / "samples-0000060.png") as square:
        assert 2 * 96 < square.height < 3 * 96


class FakeRun:
    def __init__(self, options):
        self.options, self.logged, self.finished = options, [], False
        self.id = options["id"] or "abc"

    def log(self, values, step):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


@pytest.fixture
def wandb(monkeypatch):
    """The module as a run meets it: `init`, `Image`."""
    module = ModuleType("wandb")
    module.runs = []
    module.init = lambda **options: module.runs.append(FakeRun(options)) or module.runs[-1]
    module.Image = lambda pixels, caption: SimpleNamespace(pixels=pixels, caption=caption)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_weights_and_biases_follows_a_run_and_its_resumption(tmp_path, wandb):
    config = replace(CONFIG, wandb="faces")
    for _ in range(2):
        log = RunLog(tmp_path / "smile", config)
        log.metrics(7, {"loss": 0.5})
        log.preview(7, {"samples": BATCH})
        log.close()
        log.close()
    first, second = wandb.runs
    assert first.options["project"] == "faces"
    assert first.options["name"] == "smile"
    assert first.options["config"]["wandb"] == "faces"
    assert (first.options["id"], second.options["id"]) == (None, "abc")
    assert first.logged[0] == (7, {"loss": 0.5})
    step, pictures = first.logged[1]
    assert step == 7
    assert pictures["samples"].pixels.dtype == np.uint8
    assert pictures["samples"].caption == "step 7"
    assert first.finished


def test_tensorboard_is_told_the_same(tmp_path, monkeypatch):
    told = []
    writer = SimpleNamespace(
        add_scalar=lambda *of: told.append(of),
        add_image=lambda name, pixels, step, dataformats: told.append((name, pixels.shape, step)),
        close=lambda: told.append("closed"),
    )
    module = ModuleType("tensorboardX")
    module.SummaryWriter = lambda folder: told.append(folder) or writer
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    log = RunLog(tmp_path, replace(CONFIG, tensorboard=True))
    log.metrics(7, {"loss": 0.5})
    log.preview(7, {"samples": BATCH})
    log.close()
    assert told[:2] == [str(tmp_path / "tensorboard"), ("loss", 0.5, 7)]
    assert told[2][0] == "samples"
    assert told[3:] == ["closed"]


@pytest.mark.parametrize(
    ("module", "options"), [("wandb", {"wandb": "faces"}), ("tensorboardX", {"tensorboard": True})]
)
def test_a_tracker_that_is_not_installed_names_its_extra(tmp_path, monkeypatch, module, options):
    monkeypatch.setitem(sys.modules, module, None)
    extra = module.removesuffix("X")
    with pytest.raises(ConfigError, match=rf"train\.{extra}=.* 'clipdiff-jax\[{extra}\]'"):
        RunLog(tmp_path, replace(CONFIG, **options))
    assert list(RunLog(None, replace(CONFIG, **options))._trackers) == []


def test_a_project_has_a_name():
    with pytest.raises(ConfigError, match="expected the name of a project"):
        TrainConfig(wandb=" ")
