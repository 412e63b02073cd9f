"""What `clipdiff evaluate` reads: by content, without what cannot be read, and the grain of it."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.cli.evaluate.images import _Pictures
from clipdiff_jax.cli.evaluate.results import finite, mean_of
from clipdiff_jax.cli.main import evaluate
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.folders import list_pictures
from clipdiff_jax.metrics.grain import local_deviation


def write(folder, count=3, size=16, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    for i, image in enumerate(levels):
        Image.fromarray(image).save(folder / f"{i}.png")
    return levels


def run(*words) -> int:
    return evaluate([str(word) for word in words])


def test_grain_of_a_folder(tmp_path, capsys):
    levels = write(tmp_path / "made")
    Image.fromarray(levels[0, :8]).save(tmp_path / "made" / "small.png")
    out = tmp_path / "out"
    (tmp_path / "made" / "broken.png").write_bytes(b"no picture")
    assert run("grain", tmp_path / "made", "--out", out) == 2
    assert "broken.png" in capsys.readouterr().err
    assert run("grain", tmp_path / "made", "--on-error", "skip", "--out", out) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["pictures"] == 4
    assert scores["grain"] == pytest.approx(local_deviation(to_float(levels)), rel=0.05)
    (tmp_path / "made" / "small.png").unlink()
    assert run("grain", tmp_path / "made", "--on-error", "skip", "--out", out) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert scores["grain"] == local_deviation(levels)
    assert (out / "scores.md").read_text().startswith("| pictures | grain ↓ |")


def test_pairs_without_what_cannot_be_read(tmp_path, capsys):
    write(tmp_path / "made")
    write(tmp_path / "truth", seed=1)
    (tmp_path / "truth" / "1.png").write_bytes(b"no picture")
    words = ("pairs", tmp_path / "made", "--reference", tmp_path / "truth")
    assert run(*words, "--out", tmp_path / "out") == 2
    assert "truth/1.png" in capsys.readouterr().err
    assert run(*words, "--on-error", "skip", "--out", tmp_path / "out") == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert [one["name"] for one in scores["each"]] == ["0", "2"]


def test_pictures_are_known_by_their_content(tmp_path):
    """Whatever their names, sizes and times."""
    write(tmp_path / "a")
    write(tmp_path / "b")
    same = [_Pictures(list_pictures(tmp_path / name)).fingerprint for name in "ab"]
    assert same[0] == same[1]
    path = tmp_path / "b" / "0.bmp"
    Image.open(tmp_path / "b" / "0.png").save(path)
    before = path.stat()
    fingerprint = _Pictures(list_pictures(tmp_path / "b")).fingerprint
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert _Pictures(list_pictures(tmp_path / "b")).fingerprint != fingerprint


def test_nothing_is_kept_without_a_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "made", count=4, size=64)
    words = ("images", tmp_path / "made", "--reference", tmp_path / "made")
    assert run(*words, "--no-cache", "--out", tmp_path / "out") == 0
    assert not (tmp_path / "cache").exists()
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["metrics"]["cmmd"]["value"] == pytest.approx(0, abs=1e-6)


def test_json_has_no_numbers_that_it_cannot_have():
    scores = {"a": [1.0, float("nan")], "b": (float("inf"), {"c": -float("inf")}), "d": "NaN"}
    assert finite(scores) == {"a": [1.0, None], "b": [None, {"c": None}], "d": "NaN"}


def test_a_mean_is_of_what_is_finite():
    assert mean_of([20.0, np.inf, 30.0]).value == 25.0
    whole = mean_of([np.inf, np.inf])
    assert whole.value == np.inf
    assert np.isnan(whole.uncertainty)


@pytest.mark.slow
def test_what_a_clip_of_avatars_knows(tmp_path, monkeypatch):
    pytest.importorskip("dicebear")
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    words = ("zero-shot", "--count", 8, "--batch-size", 8, "--out", tmp_path / "out")
    assert run(*words) == 0
    results = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert results["faces"] == 8
    assert results["scores"]["hair_color"] > 0.8
    assert "retrieval of 8" in results["scores"]
