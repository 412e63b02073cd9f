"""The commands of docs/released-weights.md, run on small models of the same names and layouts.

They lie in a cache of the Hub, and there is no network; numbers that make a command slow are made
smaller here.
"""

import shlex

import numpy as np
import pytest
from docs.test_commands import command_lines
from helpers import tiny_stable_diffusion
from helpers.hub_cache import offline, place
from helpers.paths import ROOT
from helpers.tiny_karlo import VARIATIONS, write_karlo
from helpers.tiny_models import drawn, pictures, tiny_clip
from PIL import Image

from clipdiff_jax.cli import learned
from clipdiff_jax.cli.main import main
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.edit.model import load_edit
from clipdiff_jax.latent.load import is_latent
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.unclip.load import is_unclip
from clipdiff_jax.weights.layout import ClipWeights, DiffusionWeights
from clipdiff_jax.weights.layouts import clip_transformers, latent_diffusers, pixel_diffusers

DDPM, CLIP = "google/ddpm-celebahq-256", "openai/clip-vit-base-patch16"
KARLO, SD = "kakaobrain/karlo-v1-alpha", "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = UNetConfig(
    channels=(8, 16), blocks=1, attention_levels=(1,), norm_groups=4, head_width=8, norm_eps=1e-6,
    time_order="cos_sin", time_shift=1.0, downsample_padding="right",
)  # fmt: skip
TRAINED = {
    "stage.images": 2, "stage.objective.invert_steps": 2, "stage.objective.train_steps": 2,
    "train.steps": 2, "train.preview_every": 2, "train.checkpoint.every": 2,
}  # fmt: skip
SMALLER = {
    "edit photos/ --from": "--align none --steps 2",
    "edit photos/ --edit": "--align none --steps 2",
    "edit photos/ --method": "--steps 3",
    "train": " ".join(f"--config.{name}={value}" for name, value in TRAINED.items()),
    "generate --model google": "--steps 2",
    "generate --model kakao": "--steps 2 --prior-steps 2 --upsample-steps 2",
    "generate --model stable": "--steps 2",
    "guide": "--steps 2 --count 1 --cutouts 2",
    "vary": "--steps 2 --upsample-steps 2",
    "textdiff": "--steps 2 --upsample-steps 2 --thetas 0 0.4",
    "remake": "",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The repositories that the page names."""
    root = tmp_path_factory.mktemp("hub")
    config = DiffusionConfig(UNET, 16)
    weights = DiffusionWeights(config, drawn(lambda key: init_params(config, key), 0))
    pixel_diffusers.write(place(root, DDPM), weights)
    clip = tiny_clip()
    clip_transformers.write(
        place(root, CLIP), ClipWeights(clip.config, clip.params, clip.tokenizer)
    )
    write_karlo(place(root, KARLO))
    write_karlo(place(root, f"{KARLO}-image-variations"), VARIATIONS)
    latent_diffusers.write(place(root, SD), tiny_stable_diffusion.weights("sd1"))
    with offline(root):
        yield root


def test_repositories_are_known_by_their_configs(cache):
    assert [is_latent(one) for one in (SD, KARLO, DDPM, "lab/none", "demo")] == [
        True, False, False, False, False,
    ]  # fmt: skip
    assert [is_unclip(one) for one in (SD, KARLO, DDPM, "lab/none", "demo")] == [
        False, True, False, False, True,
    ]  # fmt: skip


@pytest.mark.slow
def test_the_commands_of_the_page(cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(learned, "STEPS", 2)
    monkeypatch.setattr(learned, "PASSES", 1)
    for folder, count in (("photos", 2), ("faces", 4)):
        (tmp_path / folder).mkdir()
        for i, picture in enumerate(to_uint8(pictures(count, 24))):
            Image.fromarray(picture).save(tmp_path / folder / f"face{i}.png")
    lines = [" ".join(line.split()) for line in command_lines(ROOT / "docs/released-weights.md")]
    lines = [line for line in lines if "--dry-run" not in line]
    assert len(lines) == 11
    for line in lines:
        (extra,) = (more for start, more in SMALLER.items() if line.startswith(f"clipdiff {start}"))
        words = [*shlex.split(line)[1:], *shlex.split(extra)]
        assert main(words) == 0, capsys.readouterr().err
    counts = {"edited": 2, "smiling": 4, "drawn": 4, "guided": 1, "foxes": 1, "more-foxes": 4,
              "wolves": 2, "cubes": 4, "painted": 2, "again": 4}  # fmt: skip
    assert {name: len(read_records(tmp_path / name)) for name in counts} == counts
    assert read_records(tmp_path / "smiling")[0]["model"] == DDPM
    assert load_edit("runs/smiling").base_source == DDPM
    for record in read_records(tmp_path / "cubes"):
        both = [
            np.asarray(Image.open(tmp_path / one / record["file"])) for one in ("cubes", "again")
        ]
        np.testing.assert_array_equal(*both)
