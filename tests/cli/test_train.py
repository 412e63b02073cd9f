"""`train.py` as a user meets it: overrides, dry run, and one clear line for each mistake."""

import json
from dataclasses import replace
from importlib import metadata

import pytest

from clipdiff_jax.cli import train as train_command
from clipdiff_jax.cli.main import train as main
from clipdiff_jax.cli.train import _config
from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.tfds_source import TfdsData

RECIPE = """
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.config import TrainConfig

def get_config():
    unet = UNetConfig(channels=(8,), blocks=1, attention_levels=(), norm_groups=4)
    model = DiffusionConfig(unet=unet, image_size=8)
    train = TrainConfig(steps=2, batch_size=2, log_every=1)
    return RunConfig(BaseStage(data=FolderData(path={path!r}), model=model), train)
"""


@pytest.fixture
def recipe(tmp_path):
    import numpy as np
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.fromarray(np.full((9, 12, 3), 50 * i, np.uint8)).save(pictures / f"{i}.png")
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE.format(path=str(pictures)))
    return str(path)


def test_trains_resumes_and_says_what_changed(recipe, tmp_path, capsys):
    workdir = tmp_path / "run"
    arguments = ["--config", recipe, "--workdir", str(workdir)]
    assert main(arguments) == 0
    assert (workdir / "model" / "model.safetensors").is_file()
    config = json.loads((workdir / "config.json").read_text())
    assert config["train"]["steps"] == 2
    assert main([*arguments, "--config.train.steps=3"]) == 0
    assert "train.steps was 2" in capsys.readouterr().err
    steps = [json.loads(line)["step"] for line in (workdir / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_dry_run_writes_nothing(recipe, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(["--config", recipe, "--dry-run"]) == 0
    assert "parameters" in capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--config.train.step=3"], "Did you mean 'steps'"),
        (["--config.stage.model.prediction=noise"], "not one of eps, x0, v"),
        (["--config.stage.data.path=/nowhere"], "/nowhere"),
        (["--config.stage.start=/nowhere"], "no file or folder"),
        (["--config.train.accumulate=2", "--config.train.batch_size=3"], "does not divide"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(recipe, tmp_path, capsys, extra, message):
    workdir = tmp_path / "run"
    assert main(["--config", recipe, "--workdir", str(workdir), *extra]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert not workdir.exists()


def test_without_the_extra_of_the_data_a_step_is_compiled_and_none_is_trained(
    tmp_path, monkeypatch, capsys
):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    shown = []
    monkeypatch.setattr(
        train_command, "dry_run", lambda stage, train: shown.append(stage) or {"text": ""}
    )
    recipe = ("--config", "avatars/edit_smile", "--workdir", str(tmp_path / "run"))
    assert main([*recipe, "--dry-run"]) == 0
    assert len(shown[0].source) == 32
    assert "clipdiff_jax[demo]" in capsys.readouterr().err
    assert main(list(recipe)) == 2
    error = capsys.readouterr().err
    assert "clipdiff_jax[demo]" in error
    assert "Traceback" not in error


def test_an_empty_folder_is_an_error(recipe, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    extra = f"--config.stage.data.path={tmp_path / 'empty'}"
    assert main(["--config", recipe, "--workdir", str(tmp_path / "run"), extra]) == 2
    assert "empty" in capsys.readouterr().err


def test_data_by_name_comes_before_the_overrides(tmp_path):
    name = str(tmp_path)
    found = _config("avatars/base", name, ["stage.data.on_error=skip", "train.steps=3"])
    assert found.stage.data == FolderData(name, on_error="skip")
    assert found.train.steps == 3
    tfds = _config("avatars/base", "mnist:test", ["stage.data.image=picture"])
    assert tfds.stage.data == TfdsData("mnist", split="test", image="picture")
    kept = _config("avatars/base", "avatars:valid", [])
    assert kept.stage.data == replace(_config("avatars/base", None, []).stage.data, split="valid")
    other = _config("avatars/base", None, ["stage.data.type=FolderData", "stage.data.path=x"])
    assert other.stage.data == FolderData("x")
    with pytest.raises(ConfigError, match="is a FolderData, expected a EmbeddingsData"):
        _config("unclip/avatars/prior", name, [])
