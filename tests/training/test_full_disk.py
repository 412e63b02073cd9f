"""A full disk: one error that names the place, and every completed checkpoint still there."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.paths import TESTS
from PIL import Image

SCRIPT = ("-m", "helpers.full_disk_run")
RECIPE = """
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig

def get_config():
    unet = UNetConfig(channels=(16,), blocks=1, attention_levels=(), norm_groups=4)
    model = DiffusionConfig(unet=unet, image_size=8)
    stage = BaseStage(data=FolderData(path={path!r}), model=model)
    return RunConfig(stage, TrainConfig(
        steps=2, batch_size=2, log_every=100, checkpoint=CheckpointConfig(every=2)
    ))
"""


def can_mount() -> bool:
    """Whether this user may have a small disk of their own."""
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("unshare") is not None
        and not subprocess.run(command, capture_output=True).returncode
    )


@pytest.mark.parametrize("kind", [pytest.param("limit", marks=pytest.mark.slow), "tmpfs"])
def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path, kind):
    if kind == "tmpfs" and not can_mount():
        pytest.skip("needs user namespaces to mount a tmpfs")
    pictures, disk, recipe = tmp_path / "pictures", tmp_path / "disk", tmp_path / "recipe.py"
    pictures.mkdir()
    disk.mkdir()
    for i in range(2):
        Image.fromarray(np.full((8, 8, 3), 50 * i, np.uint8)).save(pictures / f"{i}.png")
    recipe.write_text(RECIPE.format(path=str(pictures)))
    own_disk = ["unshare", "-rm"] if kind == "tmpfs" else []
    done = subprocess.run(
        [*own_disk, sys.executable, *SCRIPT, recipe, disk, kind],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=TESTS,
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.splitlines()[-1])
    reason = {"limit": "too large", "tmpfs": "the disk has 0.0 MiB"}[kind]
    assert runs["first"]["status"] == 0
    for name, place in (("saving", "checkpoints"), ("exporting", "model")):
        run = runs[name]
        assert run["status"] == 2
        assert len(run["errors"]) == 1
        assert f"'{disk / 'work' / place}'" in run["errors"][0]
        assert run["files"] == runs["first"]["files"]
        assert run["model"] == runs["first"]["model"]
    assert reason in runs["saving"]["errors"][0]
    assert "checkpoint 2 is good" in runs["saving"]["errors"][0]
    assert runs["again"]["status"] == 0
    assert runs["again"]["resumed"]
    assert "checkpoints/4" in runs["again"]["files"]
