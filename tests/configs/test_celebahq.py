"""The CelebA-HQ recipes start: on noise, laid out as tensorflow-datasets has the real pictures."""

import io
import json

import jax
import numpy as np
import pytest
from helpers.paths import CONFIGS
from helpers.tiny_models import tiny_clip
from PIL import Image
from safetensors.numpy import save_file

import clipdiff_jax as cd
from clipdiff_jax.cli.main import train as main
from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.layouts import unet_diffusers
from clipdiff_jax.weights.tables import export_params

CELEBAHQ = CONFIGS / "celebahq"
PICTURES = 20
# The real network's levels, attention and resampling, with few channels, on smaller pictures.
SMALL = UNetConfig(channels=6 * (8,), blocks=1, norm_groups=8)
SIZE = 64


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """tensorflow-datasets' own builder of CelebA-HQ, but for where the pictures come from."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Noise(tfds.builder_cls("celeb_a_hq")):
            name = "celeb_a_hq"
            MANUAL_DOWNLOAD_INSTRUCTIONS = None

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for i in range(PICTURES):
                    yield i, {"image": noise(i), "image/filename": f"{i}.png"}

    folder = tmp_path_factory.mktemp("tfds")
    Noise(config="256", data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def noise(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((256, 256)).save(file, "png")
    file.seek(0)
    return file


def run(name, workdir, *overrides):
    arguments = ["--config", str(CELEBAHQ / name), "--workdir", str(workdir)]
    assert main([*arguments, *(f"--config.{override}" for override in overrides)]) == 0
    lines = (workdir / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_the_base_trains(data_dir, tmp_path):
    log = run(
        "base.py", tmp_path, f"stage.data.data_dir={data_dir}", "train.steps=1",
        "train.batch_size=1", "train.workers=0", "train.log_every=1",
        "stage.preview_count=1", "stage.dtype=float32", f"stage.model.image_size={SIZE}",
        "stage.preview_steps=1", "stage.model.unet.norm_groups=8",
        f"stage.model.unet.channels={list(SMALL.channels)}", "stage.model.unet.blocks=1",
    )  # fmt: skip
    assert np.isfinite(log[-1]["loss"])
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["stage"]["data"]["split"] == "train[:70%]"
    assert cd.load_diffusion(tmp_path).config.image_size == SIZE


@pytest.mark.slow
def test_an_edit_of_a_base_from_the_hub_trains(data_dir, tmp_path):
    base = tmp_path / "base"  # in the layout of google/ddpm-celebahq-256
    base.mkdir()
    params = jax.jit(lambda key: init_params(DiffusionConfig(SMALL), key))(jax.random.key(0))
    save_file(
        export_params(unet_diffusers.table(SMALL), params),
        base / "diffusion_pytorch_model.safetensors",
    )
    (base / "config.json").write_text(json.dumps(unet_diffusers.write_config(SMALL, SIZE)))
    clip = tiny_clip()
    save_clip(tmp_path / "clip", clip.config, clip.params, clip.tokenizer)
    log = run(
        "edit.py", tmp_path / "run", f"stage.data.data_dir={data_dir}", f"stage.base={base}",
        f"stage.clip={tmp_path / 'clip'}", "stage.images=1", "stage.objective.invert_steps=2",
        "stage.objective.train_steps=2", "train.steps=1", "train.log_every=1",
    )  # fmt: skip
    assert np.isfinite(log[-1]["loss"])
    assert cd.load_edit(tmp_path / "run").config.image_size == SIZE
