"""`--dry-run --target` as a user meets it: eight devices that are simulated, and mistakes."""

import jax
import pytest
from helpers import tiny_stable_diffusion

import clipdiff_jax as cd
from clipdiff_jax.cli.main import main
from clipdiff_jax.weights.layouts import latent_diffusers

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
    train = TrainConfig(steps=1000, batch_size=16)
    return RunConfig(BaseStage(data=FolderData("nowhere"), model=model), train)
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.py"
    path.write_text(RECIPE)
    return ["train", "--config", str(path)]


@pytest.mark.slow
def test_eight_devices_without_the_data_and_three_that_do_not_divide(recipe, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main([*recipe, "--dry-run", "--target", "cpu:3,cpu:8"]) == 2
    said, error = capsys.readouterr()
    assert error == "error: cpu:3: micro-batches of 16 examples do not divide over 3 devices\n"
    assert "cpu:8: 8 devices (data=8 x fsdp=1), 16 examples a step" in said
    assert "all-reduce" in said
    assert "optimiser" in said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_sampling(capsys):
    asked = ["--dry-run", "--target", "cpu:1", "--steps", "2", "--count", "2"]
    assert main(["generate", "--model", "demo", *asked]) == 0
    said = capsys.readouterr().out
    assert "cpu:1: one batch of 2 pictures on one device" in said
    count = sum(leaf.size for leaf in jax.tree.leaves(cd.load_diffusion("demo").params))
    assert f"parameters      {count:,}" in said


@pytest.mark.slow
def test_sampling_of_a_latent_model(tmp_path, capsys):
    latent_diffusers.write(tmp_path / "tiny", tiny_stable_diffusion.weights("sd1"))
    asked = ["--dry-run", "--target", "cpu:1", "--steps", "2", "--prompt", "a cat"]
    assert main(["generate", "--model", str(tmp_path / "tiny"), *asked]) == 0
    said = capsys.readouterr().out
    assert "-- text towers and UNet" in said
    assert "-- autoencoder" in said
    assert "count once" not in said  # the number of steps is known


@pytest.mark.parametrize(
    ("command", "extra", "message"),
    [
        ("train", ["--dry-run", "--target", "h10:8"], "Did you mean 'h100'?"),
        ("train", ["--target", "cpu:8", "--workdir", "w"], "--target is for --dry-run"),
        ("generate", ["--dry-run"], "--dry-run needs --target"),
        ("generate", ["--dry-run", "--target", "v9:8"], "no target 'v9:8'"),
        ("generate", ["--target", "cpu:8"], "--target is for --dry-run"),
        ("generate", ["--dry-run", "--target", "cpu:1", "--steps", "0"], "--steps"),
    ],
)
def test_mistakes_are_one_line(recipe, capsys, command, extra, message):
    assert main([*(recipe if command == "train" else [command]), *extra]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
