"""`sample.py generate --prompt` and `sample.py vary`."""

import json

import numpy as np
import pytest
from helpers.tiny_karlo import VARIATIONS, write_karlo
from helpers.tiny_models import pictures
from PIL import Image

from clipdiff_jax.cli.main import sample
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.unclip.load import load_unclip

STEPS = ("--steps", 2, "--upsample-steps", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and pictures on disk: karlo/, variations/, faces/ (two of them)."""
    root = tmp_path_factory.mktemp("unclip")
    write_karlo(root / "karlo")
    write_karlo(root / "variations", VARIATIONS)
    (root / "faces").mkdir()
    for i, image in enumerate(to_uint8(pictures(2, 20))):
        Image.fromarray(image).save(root / "faces" / f"face{i}.png")
    return root


def run(*words) -> int:
    return sample([str(word) for word in words])


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_prompts_become_pictures_that_can_be_made_again(folder, tmp_path):
    (tmp_path / "prompts.txt").write_text("a dog\n\na red cat\n")
    prompts = ("--prompt", "a cat", "--prompts", tmp_path / "prompts.txt")
    model = ("--model", folder / "karlo", *STEPS, "--prior-steps", 2, "--seed", 5)
    assert run("generate", *prompts, *model, "--batch-size", 2, "--out", tmp_path / "out") == 0
    records = read_records(tmp_path / "out")
    assert [record["prompt"] for record in records] == ["a cat", "a dog", "a red cat"]
    assert [record["file"] for record in records] == [f"5-0000{i}.png" for i in range(3)]
    assert (records[0]["guidance"], records[0]["prior_guidance"]) == (8.0, 4.0)
    last = tmp_path / "out" / "5-00002.png"
    assert json.loads(Image.open(last).info["clipdiff_jax"]) == records[2]
    assert pixels(last).shape == (32, 32, 3)
    assert (tmp_path / "out" / "grid.png").exists()
    assert run("remake", last, "--model", folder / "karlo", "--out", tmp_path / "again") == 0
    assert np.abs(pixels(tmp_path / "again" / last.name) - pixels(last)).max() <= 1
    assert np.abs(pixels(tmp_path / "out" / "5-00001.png") - pixels(last)).max() > 1


@pytest.mark.slow
def test_steps_by_section_and_dynamic_thresholding_are_recorded(folder, tmp_path):
    options = ("--steps", "2,1", "--upsample-steps", "2,2", "--prior-steps", 2, "--threshold", 99)
    out = ("--model", folder / "karlo", "--out", tmp_path)
    assert run("generate", "--prompt", "a cat", *options, *out) == 0
    record = read_records(tmp_path)[0]
    assert (record["steps"], record["upsample_steps"]) == ([2, 1], [2, 2])
    assert record["threshold"] == 99
    assert run("remake", tmp_path, "--model", folder / "karlo", "--out", tmp_path / "again") == 0
    assert np.abs(pixels(tmp_path / "again" / record["file"]) - pixels(tmp_path / record["file"])
                  ).max() <= 1  # fmt: skip


def test_steps_that_are_no_numbers_are_refused(folder, tmp_path, capsys):
    words = ("generate", "--prompt", "a cat", "--model", folder / "karlo", "--out", tmp_path)
    assert run(*words, "--upsample-steps", "fast27") == 2
    assert "'fast27' is neither a number of steps nor" in capsys.readouterr().err


@pytest.mark.slow
def test_variations_of_pictures(folder, tmp_path):
    model = ("--model", folder / "variations", *STEPS, "--count", 2)
    assert run("vary", folder / "faces", *model, "--out", tmp_path / "out") == 0
    files = ["face0-1.png", "face1-1.png", "face0-2.png", "face1-2.png"]
    assert [record["file"] for record in read_records(tmp_path / "out")] == files
    made = [pixels(tmp_path / "out" / file) for file in files]
    named = ("--model", folder / "variations", "--sources", folder / "faces")
    assert np.abs(made[0] - made[2]).max() > 1
    assert run("remake", tmp_path / "out" / files[3], *named, "--out", tmp_path / "again") == 0
    assert np.abs(pixels(tmp_path / "again" / files[3]) - made[3]).max() <= 1


def test_guidance_leads_away_from_a_text(folder):
    """What it leads away from is that text in place of none."""
    model = load_unclip(folder / "karlo", parts=("text",))
    texts, none = model.encode_with_empty(["a cat", "a dog"])
    same, away = model.away_from("a dog").encode_with_empty(["a cat", "a dog"])
    for one, other in zip(texts, same, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(texts, away, strict=True):
        np.testing.assert_allclose(one[1], other[0], rtol=1e-6)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-6)
    assert np.abs(none.embedding - away.embedding).max() > 0.01


@pytest.mark.slow
def test_negatives_are_recorded_and_change_the_picture(folder, tmp_path):
    (tmp_path / "prompts.txt").write_text("a cat\na cat | seed=0 | negative=a dog\n")
    model = ("--model", folder / "karlo", *STEPS, "--prior-steps", 2)
    prompts = ("--prompts", tmp_path / "prompts.txt")
    assert run("generate", *prompts, *model, "--out", tmp_path / "out") == 0
    first, second = read_records(tmp_path / "out")
    assert ("negative" in first, second["negative"]) == (False, "a dog")
    plain, away = (pixels(tmp_path / "out" / one["file"]) for one in (first, second))
    assert np.abs(plain - away).max() > 1
    again = ("remake", tmp_path / "out", "--model", folder / "karlo", "--out", tmp_path / "again")
    assert run(*again) == 0
    assert np.abs(pixels(tmp_path / "again" / second["file"]) - away).max() <= 1
    alone = ("generate", "--prompt", "a cat", "--negative", "a dog", *model)
    assert run(*alone, "--out", tmp_path / "alone") == 0
    assert np.abs(pixels(tmp_path / "alone" / first["file"]) - away).max() <= 1


@pytest.mark.slow
def test_pictures_of_a_size_before_the_last(folder, tmp_path):
    """They are not upsampled, and are made again so."""
    words = (
        "generate",
        "--prompt",
        "a cat",
        *STEPS,
        "--prior-steps",
        2,
        "--model",
        folder / "karlo",
    )
    for size, said in ((16, 16), (32, None)):
        out = tmp_path / str(size)
        assert run(*words, "--size", size, "--out", out) == 0
        (record,) = read_records(out)
        assert record.get("size") == said
        assert pixels(out / record["file"]).shape == (size, size, 3)
    again = ("remake", tmp_path / "16", "--model", folder / "karlo", "--out", tmp_path / "again")
    assert run(*again) == 0
    made, remade = (pixels(tmp_path / one / "0-00000.png") for one in ("16", "again"))
    assert np.abs(made - remade).max() <= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--model", "karlo"], "is for pictures from texts: give --prompt"),
        (["generate", "--negative", "a"], "--negative is for pictures from texts: give --prompt"),
        (["generate", "--guidance", 2], "--guidance is for pictures from texts: give --prompt"),
        (
            ["generate", "--model", "karlo", "--prompt", "a", "--eta", 1],
            "--eta 1 is of the sampler 'ddim'",
        ),
        (["generate", "--model", "faces", "--prompt", "a"], "no 'model_index.json' in"),
        (
            ["generate", "--model", "karlo", "--prompt", "a", "--size", 64],
            "--size 64: this model draws 16 px, and its upsamplers make 32 px of them",
        ),
        (["generate", "--size", 128], "--size 128: this model draws 64 px and has no upsampler"),
        (["generate", "--size", 0], "--size must be at least 1, got 0"),
        (["generate", "--model", "variations", "--prompt", "a"], "no part 'prior' loaded"),
        (["generate", "--model", "karlo", "--prompts", "faces/face0.txt"], "face0.txt"),
        (["vary", "faces", "--model", "karlo"], "this model has no image tower"),
        (["vary", "faces", "--model", "variations", "--count", 0], "--count must be at least 1"),
    ],
)
def test_mistakes_give_one_line_and_status_2(folder, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    assert run(*words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]
