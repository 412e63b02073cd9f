"""`evaluate.py pairs`: the metrics of known pairs, and what is said where there are none."""

import json

import jax
import numpy as np
import pytest
from helpers.tiny_models import drawn, pictures
from PIL import Image
from safetensors.numpy import save_file

from clipdiff_jax.cli.main import evaluate
from clipdiff_jax.data.transforms import to_float, to_uint8
from clipdiff_jax.metrics.pixels import mae, psnr, ssim
from clipdiff_jax.models.alexnet import AlexNetConfig
from clipdiff_jax.perceptual.lpips import init_params, load_lpips
from clipdiff_jax.weights.layouts.lpips import ALEXNET
from clipdiff_jax.weights.tables import export_params

NAMES = ("a", "b", "c")


def run(*words) -> int:
    return evaluate([str(word) for word in words])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three references, of which the last is reproduced exactly."""
    root = tmp_path_factory.mktemp("pairs")
    truths = pictures(3, 32)
    made = np.clip(truths + 0.2 * np.random.default_rng(0).normal(size=truths.shape), -1, 1)
    made[2] = truths[2]
    for folder, images in (("made", made), ("truth", truths)):
        (root / folder).mkdir()
        for name, image in zip(NAMES, images, strict=True):
            Image.fromarray(to_uint8(image.astype(np.float32))).save(root / folder / f"{name}.png")
    return root


@pytest.fixture(scope="module")
def weights(folders):
    """Random weights of the public sizes."""
    network = drawn(lambda key: init_params(AlexNetConfig(), key), 0)
    rng = np.random.default_rng(1)
    heads = {
        f"lin{layer}.model.1.weight": rng.uniform(0, 1, (1, width, 1, 1)).astype(np.float32)
        for layer, width in enumerate(AlexNetConfig().widths)
    }
    files = folders / "alexnet.safetensors", folders / "alex.safetensors"
    save_file(export_params(ALEXNET, jax.tree.map(np.asarray, network)), files[0])
    save_file(heads, files[1])
    return files


def strict(text):
    """JSON without what JSON has not."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_identical_pictures_alone(folders):
    out = folders / "same"
    assert run("pairs", folders / "truth", "--reference", folders / "truth", "--out", out) == 0
    scores = strict((out / "scores.json").read_text())
    assert scores["mean"]["psnr"] == {"value": None, "uncertainty": None}
    assert (scores["identical"], scores["mean"]["ssim"]["value"]) == (3, 1.0)


def read(folder):
    images = [np.asarray(Image.open(folder / f"{name}.png")) for name in NAMES]
    return to_float(np.stack(images))


def test_every_pair_is_measured(folders, weights):
    out = folders / "scores"
    network, heads = weights
    lpips = ("--lpips", "alex", "--lpips-network", network, "--lpips-heads", heads)
    paths = (folders / "made", "--reference", folders / "truth", "--out", out)
    assert run("pairs", *paths, *lpips, "--batch-size", 2) == 0
    scores = strict((out / "scores.json").read_text())
    made, truth = read(folders / "made"), read(folders / "truth")
    metrics = {"mae": mae, "psnr": psnr, "ssim": ssim, "lpips": load_lpips(*weights).distance}
    for name, metric in metrics.items():
        wanted = np.asarray(metric(made, truth))
        found = [np.inf if one[name] is None else one[name] for one in scores["each"]]
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
        mean = wanted[np.isfinite(wanted)].mean()
        np.testing.assert_allclose(scores["mean"][name]["value"], mean, rtol=1e-4)
    assert [one["name"] for one in scores["each"]] == list(NAMES)
    last = scores["each"][2]
    assert (last["mae"], last["psnr"], last["lpips"]) == (0, None, 0)
    assert scores["identical"] == 1
    assert 0 < scores["mean"]["psnr"]["uncertainty"] < 1
    assert 0 < scores["mean"]["ssim"]["uncertainty"] < 1
    header, _, row = (out / "scores.md").read_text().splitlines()
    assert header == "| pictures | MAE ↓ | PSNR, dB ↑ | SSIM ↑ | LPIPS (alex) ↓ |"
    assert row.startswith("| 3 | 0.")
    assert (out / "grid.png").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lpips", "alex"), "--lpips needs --lpips-network and --lpips-heads"),
        (("--lpips-heads", "alex.pth"), "weights of LPIPS need --lpips alex or vgg"),
        (("--face", "nowhere.pth"), "no file 'nowhere.pth'"),
        (("--size", "8"), "windows of 11x11 pixels, the pictures have 8x8"),
        (("--batch-size", "0"), "at least 1, got 0"),
    ],
)
def test_mistakes_are_named(folders, capsys, options, message):
    out = folders / "nothing"
    paths = (folders / "made", "--reference", folders / "truth", "--out", out)
    assert run("pairs", *paths, *options) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
