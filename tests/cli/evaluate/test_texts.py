"""`evaluate.py texts`: scores of pictures and captions whose embeddings are known."""

import json

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip
from PIL import Image

from clipdiff_jax.cli.main import evaluate
from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.data.transforms import to_float, to_uint8

CAPTIONS = {"a": "a face", "b": "a smiling face", "c": "a smiling face"}


def run(*words) -> int:
    return evaluate([str(word) for word in words])


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def write(folder, images):
    folder.mkdir()
    for name, image in zip(CAPTIONS, images, strict=True):
        Image.fromarray(to_uint8(image)).save(folder / f"{name}.png")


def read(folder):
    return to_float(np.stack([np.asarray(Image.open(folder / f"{name}.png")) for name in CAPTIONS]))


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.fixture(scope="module")
def root(clip, tmp_path_factory):
    """A CLIP, pictures of the size it takes with captions, and other pictures of their names."""
    root = tmp_path_factory.mktemp("texts")
    save_clip(root / "clip", clip.config, clip.params, clip.tokenizer)
    write(root / "pictures", pictures(3))
    write(root / "originals", pictures(3, seed=1))
    lines = [{"file_name": f"{n}.png", "captions": [c, "more"]} for n, c in CAPTIONS.items()]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (root / "pictures" / "metadata.jsonl").write_text(text)
    return root


def test_pictures_against_their_captions(root, clip):
    out = root / "captions"
    common = ("--model", root / "clip", "--batch-size", 2)
    assert run("texts", root / "pictures", *common, "--out", out) == 0
    scores = json.loads((out / "scores.json").read_text())
    images, texts = (
        clip.embed_images(read(root / "pictures")),
        clip.embed_texts(list(CAPTIONS.values())),
    )
    cosine = unit(images) @ unit(texts).T
    own, other = np.diag(cosine), cosine[[0, 1, 2], [1, 0, 0]]
    wanted = 2.5 * np.maximum(own, 0)
    each = scores["each"]
    np.testing.assert_allclose([one["clip_score"] for one in each], wanted, atol=1e-5)
    assert scores["mean"]["clip_score"]["value"] == pytest.approx(wanted.mean(), abs=1e-5)
    assert scores["mean"]["clip_score_100"]["value"] == pytest.approx(40 * wanted.mean(), abs=1e-3)
    assert [one["rank"] for one in each] == list(np.where(own > other, 1, 2))
    assert scores["candidates"] == 2
    assert scores["mean"]["r_precision"]["value"] == pytest.approx(np.mean(own > other))
    header = (out / "scores.md").read_text().splitlines()[0]
    assert "mean rank of 2 ↓ | own caption first of 2 ↑" in header
    assert (out / "grid.png").is_file()


def test_edits_along_a_texts_direction(root, clip):
    out = root / "edits"
    edit = ("--originals", root / "originals", "--source-text", "a face", "--target-text", "a hat")
    common = ("--model", root / "clip", "--batch-size", 2)
    assert run("texts", root / "pictures", *common, *edit, "--out", out) == 0
    scores = json.loads((out / "scores.json").read_text())
    after, before = (
        unit(clip.embed_images(read(root / folder))) for folder in ("pictures", "originals")
    )
    source, target = unit(clip.embed_texts(["a face", "a hat"]))
    wanted = unit(after - before) @ unit(target - source)
    np.testing.assert_allclose([one["s_dir"] for one in scores["each"]], wanted, atol=1e-4)
    assert {one["text"] for one in scores["each"]} == {"a hat"}
    assert "rank" not in scores["mean"]
    assert scores["mean"]["s_dir"]["value"] == pytest.approx(wanted.mean(), abs=1e-4)


def test_mistakes_are_named(root, capsys):
    common = ("--model", root / "clip", "--out", root / "nothing")
    assert run("texts", root / "originals", *common) == 2
    assert "a.png' has no caption (3 of 3 pictures have none)" in capsys.readouterr().err
    assert run("texts", root / "pictures", *common, "--originals", root / "originals") == 2
    assert "S_dir needs --originals, --source-text and --target-text" in capsys.readouterr().err
    assert not (root / "nothing").exists()
