"""`evaluate.py`: what it measures of edits whose effect is known, and what it writes."""

import json

import numpy as np
import pytest
from helpers.tiny_models import stirred, tiny_base

from clipdiff_jax.cli.evaluate import counterfactual
from clipdiff_jax.cli.main import evaluate
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.weights.params import fingerprint

OBJECTIVE = EditObjective(
    source_text="black hair", target_text="red hair", t0=100, invert_steps=3, train_steps=2
)


class AlwaysRed:
    """A classifier that finds red hair everywhere, and nothing else changed."""

    def predict(self, images):
        words = {"hair_color": "red", "mouth": "smile", "glasses": "none"}
        return [words for _ in np.asarray(images)]


class Words(dict):
    """Answers for attributes that the stand-in classifier does not name."""

    def __missing__(self, key):
        return "same"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    base = tiny_base()
    save_diffusion(tmp_path / "base", base.config, base.params)
    edited = stirred(base.params, 1, 0.02)
    Edit(base.config, edited, OBJECTIVE, fingerprint(base.params)).save(tmp_path / "edit")
    return tmp_path


def run(*words) -> int:
    return evaluate([str(word) for word in words])


@pytest.mark.slow
def test_reconstruction_is_measured_by_method_and_time(folder):
    """Few steps to little noise reconstruct well, the error grows with t0, and EDICT is exact."""
    out = folder / "out"
    common = ("--model", folder / "base", "--steps", 6, "--count", 3, "--batch-size", 2)
    methods = ("--methods", "ddim", "edict", "--t0", 10, 900)
    assert run("reconstruction", *common, *methods, "--out", out) == 0
    scores = json.loads((out / "scores.json").read_text())
    wanted = [("ddim", 10, 11), ("ddim", 900, 11), ("edict", 10, 24), ("edict", 900, 24)]
    assert [(one["method"], one["t0"], one["evaluations"]) for one in scores] == wanted
    psnr = [one["mean"]["psnr"]["value"] for one in scores]
    assert psnr[0] > psnr[1]
    assert psnr[3] > psnr[1] + 20
    assert scores[0]["mean"]["ssim"]["value"] > scores[1]["mean"]["ssim"]["value"]
    assert 0 < scores[1]["mean"]["mae"]["uncertainty"] < scores[1]["mean"]["mae"]["value"]
    assert scores[0]["faces"] == 3
    assert "| ddim | 6 | 11 | 900 |" in (out / "scores.md").read_text()
    assert (out / "grid.png").is_file()


def test_an_edit_is_scored_by_the_classifier_and_the_truth(folder, monkeypatch):
    class Judge(AlwaysRed):
        def predict(self, images):
            return [Words(words) for words in super().predict(images)]

    monkeypatch.setattr(counterfactual, "load_attributes", lambda source: Judge())
    out = folder / "scores"
    words = ("--attribute", "hair_color", "--target", "red", "--sources", "black", "--count", 2)
    common = ("--model", folder / "base", "--steps", 3, "--batch-size", 2, "--out", out)
    assert run("counterfactual", "--edit", folder / "edit", *words, *common) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["success"] == scores["kept"] == 1.0
    assert 0 < scores["inside"] < 60
    assert scores["edit"]["target"] == "red"


def test_mistakes_are_named(folder, capsys):
    words = ("--edit", folder / "edit", "--model", folder / "base", "--out", folder / "x")
    assert run("counterfactual", *words, "--attribute", "hair_color", "--target", "redd") == 2
    assert "Did you mean 'red'" in capsys.readouterr().err
    ready = ("--edit", "demo/smil", *words[2:], "--attribute", "mouth", "--target", "smile")
    assert run("counterfactual", *ready) == 2
    assert "Did you mean 'demo/smile'" in capsys.readouterr().err
    assert run("reconstruction", "--model", folder / "nowhere", "--out", folder / "x") == 2
    assert "nowhere" in capsys.readouterr().err
    assert not (folder / "x").exists()
