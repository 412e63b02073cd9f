"""`evaluate.py images`: the scores of two folders, and what it says of what it lacks."""

import json

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.cli.main import evaluate
from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.metrics.cmmd import cmmd
from clipdiff_jax.metrics.features import Features, part_path
from clipdiff_jax.metrics.fid import fid, statistics
from clipdiff_jax.metrics.kid import kid
from clipdiff_jax.metrics.registry import measure_sets

SIZE = 64


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two folders of pictures."""
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    for seed, (name, level) in enumerate((("made", 90), ("real", 160))):
        rng = np.random.default_rng(seed)
        (tmp_path / name).mkdir()
        for index in range(6):
            pixels = rng.normal(level, 40, (SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


def run(*words) -> int:
    return evaluate([str(word) for word in words])


def embeddings(folder):
    images = [np.asarray(Image.open(folder / f"{index}.png")) for index in range(6)]
    return np.asarray(
        load_clip("demo").embed_images(np.stack(images).astype(np.float32) / 127.5 - 1)
    )


def test_cmmd_of_two_folders(folders):
    common = ("--batch-size", 6, "--out", folders / "out")
    assert run("images", folders / "made", "--reference", folders / "real", *common) == 0
    scores = json.loads((folders / "out" / "scores.json").read_text())
    wanted = cmmd(embeddings(folders / "made"), embeddings(folders / "real"))
    assert scores["metrics"]["cmmd"]["value"] == pytest.approx(wanted.value, rel=1e-4)
    assert scores["metrics"]["cmmd"]["uncertainty"] == pytest.approx(wanted.uncertainty, rel=1e-3)
    assert (scores["pictures"], scores["reference_pictures"]) == (6, 6)
    assert (folders / "out" / "scores.md").read_text().startswith("| pictures | CMMD ↓ |")
    assert (folders / "out" / "grid.png").is_file()
    # A picture that changes is not taken from the cache.
    Image.new("RGB", (SIZE, SIZE)).save(folders / "made" / "0.png")
    assert run("images", folders / "made", "--reference", folders / "real", *common) == 0
    changed = json.loads((folders / "out" / "scores.json").read_text())["metrics"]["cmmd"]
    again = cmmd(embeddings(folders / "made"), embeddings(folders / "real"))
    assert changed["value"] == pytest.approx(again.value, rel=1e-4)


@pytest.mark.filterwarnings("ignore:.*dimensions")
def test_every_metric_of_features(tmp_path):
    sets = []
    for seed, name in enumerate(("made", "real")):
        (tmp_path / name).mkdir()
        rows = np.random.default_rng(seed).normal(seed, 1, (30, 4)).astype(np.float32)
        np.save(part_path(tmp_path / name, 0), rows)
        sets.append(Features(tmp_path / name, 30, "toy"))
    metrics = ["fid", "kid", "precision", "recall"]
    found = measure_sets(metrics, *sets, rounds=4, seed=0)
    assert list(found) == metrics
    assert found["fid"] == fid(*sets, rounds=4)
    assert found["kid"] == kid(*(one.array() for one in sets))
    assert found["recall"].value < 1
    known = statistics(sets[1])
    assert known.network == "toy"
    assert (
        measure_sets(["fid"], sets[0], known, rounds=4, seed=0)["fid"].value == found["fid"].value
    )
    with pytest.raises(ValueError, match="kid need reference pictures"):
        measure_sets(["fid", "kid"], sets[0], known, rounds=4, seed=0)


def test_what_is_lacking_is_named(folders, capsys):
    common = ("images", folders / "made", "--out", folders / "x")
    to = ("--reference", folders / "real")
    assert run(*common, *to, "--metrics", "fid", "cmmd") == 2
    told = capsys.readouterr().err
    assert "pt_inception-2015-12-05-6726825d.pth" in told
    assert "https://github.com/mseitzer/pytorch-fid/releases" in told
    assert run(*common, *to, "--metrics", "kid", "--inception", folders / "none.pth") == 2
    assert "none.pth" in capsys.readouterr().err
    words = ("--reference", folders / "known.npz", "--metrics", "cmmd")
    assert run(*common, *words) == 2
    assert "enough for --metrics fid alone" in capsys.readouterr().err
    assert run(*common, "--reference", folders / "reall") == 2
    assert "reall" in capsys.readouterr().err
    assert not (folders / "x").exists()
