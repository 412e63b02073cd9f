"""`sample.py` with a whole unCLIP: priors, samplers, inverted variations and manipulations."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers.tiny_karlo import VARIATIONS, write_karlo
from helpers.tiny_models import pictures, write_unclip
from PIL import Image

from clipdiff_jax.cli.main import sample
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.unclip import decoder, towers, upsampler
from clipdiff_jax.unclip.priors import diffusion

STEPS = ("--steps", 3, "--upsample-steps", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and pictures on disk: ours/ (every stage), karlo/, variations/, faces/ (three)."""
    root = tmp_path_factory.mktemp("manipulations")
    write_unclip(root / "ours")
    write_karlo(root / "karlo")
    write_karlo(root / "variations", VARIATIONS)
    (root / "faces").mkdir()
    for i, image in enumerate(to_uint8(pictures(3, 20))):
        Image.fromarray(image).save(root / "faces" / f"face{i}.png")
    return root


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(*words) -> int:
    return sample([str(word) for word in words])


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def remade(folder: Path, out: Path, name: str, again: Path) -> int:
    """By how much a picture differs when it is made again alone, in 255ths."""
    named = ("--model", folder / "ours", "--sources", folder / "faces")
    assert run("remake", out / name, *named, "--out", again, "--overwrite") == 0
    return int(np.abs(pixels(again / name) - pixels(out / name)).max())


def difference(out: Path, first: str, second: str) -> int:
    return int(np.abs(pixels(out / first) - pixels(out / second)).max())


@pytest.mark.slow
def test_batches_of_prompts_compile_once_and_texts_and_seeds_nothing_new(folder, tmp_path):
    programs = (diffusion._draw, decoder._draw, upsampler._draw)
    jax.clear_caches()  # of what other tests asked
    steps = ("--steps", 4, "--upsample-steps", 3, "--prior-steps", 2)
    words = ("--model", folder / "ours", *steps, "--batch-size", 2)
    more = ("--candidates", 2, "--sampler", "ddim", "--eta", 0.5)
    prompts = [word for text in ("a", "b", "c", "d", "e") for word in ("--prompt", text)]
    out = tmp_path / "out"
    assert run("generate", *prompts, *words, *more, "--out", out) == 0
    assert [program._cache_size() for program in programs] == [1, 1, 1]
    assert run("generate", *prompts, *words, *more, "--seed", 1, "--eta", 1, "--out", out) == 0
    assert [program._cache_size() for program in programs] == [1, 1, 1]
    records = read_records(out)
    assert len(records) == 10
    settings = {name: records[0][name] for name in ("sampler", "eta", "prior", "candidates")}
    assert settings == {"sampler": "ddim", "eta": 0.5, "prior": "prior", "candidates": 2}
    assert "temperature" not in records[0]
    again = tmp_path / "again"
    assert run("remake", out, "--model", folder / "ours", "--batch-size", 2, "--out", again) == 0
    assert [program._cache_size() for program in programs] == [1, 1, 1]
    for name in (record["file"] for record in records):
        assert np.abs(pixels(again / name) - pixels(out / name)).max() <= 1
    assert difference(out, "0-00004.png", "1-00004.png") > 1


@pytest.mark.slow
def test_every_prior_and_the_ablation_of_it_can_be_made_again(folder, tmp_path):
    out, words = tmp_path / "out", ("--model", folder / "ours", *STEPS, "--prompt", "a face")
    words = (*words, "--sampler", "dpm_solver")
    ar = ("--prior", "ar_prior", "--temperature", 0.5, "--embedding", "prior", "text", "none")
    assert run("generate", *words, *ar, "--out", out) == 0
    records = read_records(out)
    files = ["0-00000-prior.png", "0-00000-text.png", "0-00000-none.png"]
    assert [record["file"] for record in records] == files
    assert (records[0]["prior"], records[0]["temperature"]) == ("ar_prior", 0.5)
    assert "prior" not in records[1]
    assert max(remade(folder, out, file, tmp_path / "again") for file in files) <= 1
    assert min(difference(out, files[i], files[i - 1]) for i in range(3)) > 1
    assert Image.open(out / "grid.png").height > 3 * 96
    assert run("generate", *words, "--prior", "direct_prior", "--out", tmp_path / "direct") == 0
    assert read_records(tmp_path / "direct")[0]["prior"] == "direct_prior"


@pytest.mark.slow
def test_variations_from_a_pictures_own_latent(folder, tmp_path):
    words = ("vary", folder / "faces" / "face0.png", "--model", folder / "ours", *STEPS)
    out = tmp_path / "out"
    assert run(*words, "--inverted", "--eta", 1, "--count", 3, "--out", out) == 0
    record = read_records(out)[1]
    assert (record["inverted"], record["eta"], record["guidance"]) == (True, 1.0, 1.0)
    assert remade(folder, out, "face0-2.png", tmp_path / "again") <= 1
    assert difference(out, "face0-1.png", "face0-2.png") > 1


@pytest.mark.slow
def test_interpolation_along_a_list(folder, tmp_path):
    out = tmp_path / "out"
    words = ("interpolate", folder / "faces", "--model", folder / "ours", *STEPS, "--count", 3)
    moving = ("--animate", "webp", "--frame-duration", 200)
    assert run(*words, *moving, "--out", out) == 0
    records = read_records(out)
    assert [record["theta"] for record in records] == [0.0, 0.5, 1.0] * 2
    assert (records[4]["source"], records[4]["second_source"]) == ("face1.png", "face2.png")
    assert json.loads(Image.open(out / "face1-face2-01.png").info["clipdiff_jax"]) == records[4]
    assert pixels(out / "face1-face2-01.png").shape == (32, 32, 3)
    assert remade(folder, out, "face1-face2-01.png", tmp_path / "again") <= 1
    # Where two paths meet they have one picture; forth and back is 5 pictures and 3 of them again.
    assert difference(out, "face0-face1-02.png", "face1-face2-00.png") <= 1
    assert difference(out, "face0-face1-00.png", "face0-face1-02.png") > 1
    with Image.open(out / "animation.webp") as movie:
        assert movie.n_frames == 8
    sizes = decoder._draw._cache_size(), decoder._invert._cache_size()
    fixed = ("--latents", "fixed", "--seed", 4, "--batch-size", 3)
    assert run(*words, *fixed, "--out", tmp_path / "fixed") == 0
    assert (decoder._draw._cache_size(), decoder._invert._cache_size()) == sizes
    assert remade(folder, tmp_path / "fixed", "face0-face1-01.png", tmp_path / "again") <= 1


@pytest.mark.slow
def test_text_diffs(folder, tmp_path):
    out = tmp_path / "out"
    words = ("textdiff", folder / "faces", "--model", folder / "ours", *STEPS)
    texts = ("--from", "", "--to", "a smile", "--thetas", 0, 0.25, 0.5)
    assert run(*words, *texts, "--animate", "gif", "--playback", "loop", "--out", out) == 0
    records = read_records(out)
    files = [f"face{i}-{theta}.png" for i in range(3) for theta in ("0", "0.25", "0.5")]
    assert [record["file"] for record in records] == files
    assert (records[5]["source_text"], records[5]["target_text"]) == ("", "a smile")
    assert remade(folder, out, "face1-0.25.png", tmp_path / "again") <= 1
    assert difference(out, "face1-0.png", "face1-0.5.png") > 1
    for i in range(3):
        with Image.open(out / f"face{i}.gif") as movie:
            assert (movie.n_frames, movie.info["duration"], movie.info["loop"]) == (3, 120, 0)
    sizes = decoder._draw._cache_size(), towers._encode._cache_size()
    other = ("--from", "a photo", "--to", "old", "--thetas", 0.1, 0.2, 0.3, "--seed", 3)
    assert run(*words, *other, "--out", tmp_path / "other") == 0
    assert (decoder._draw._cache_size(), towers._encode._cache_size()) == sizes


@pytest.mark.slow
def test_reconstructions(folder, tmp_path):
    out, words = tmp_path / "out", ("reconstruct", folder / "faces", "--model", folder / "ours")
    assert run(*words, *STEPS, "--dims", 1, 4, 8, "--out", out) == 0
    assert [record["dims"] for record in read_records(out)] == [1, 4, 8] * 3
    assert remade(folder, out, "face2-4.png", tmp_path / "again") <= 1
    assert difference(out, "face2-1.png", "face2-8.png") > 1
    with Image.open(out / "grid.png") as grid:
        assert grid.width > 4 * 96  # the original and three of them, beside the labels


def test_what_cannot_be_read_is_skipped_by_name_and_what_is_small_named(folder, tmp_path, capsys):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    Image.fromarray(to_uint8(pictures(1, 8))[0]).save(tmp_path / "small.png")
    words = ("--model", folder / "ours", *STEPS, "--out", tmp_path / "out")
    both = (tmp_path / "broken.png", tmp_path / "small.png")
    assert run("interpolate", *both, *words) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert "warning: skipped: cannot read" in error[0]
    assert "broken.png" in error[0]
    assert "small.png' (8x8) is smaller than the model's 16 pixels" in error[1]
    assert error[2] == "error: interpolate needs at least 2 pictures, got 1"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--model", "karlo", "--prompt", "a", "--prior", "ar_prior"],
         "no part 'ar_prior' loaded; it has: text, prior"),
        (["generate", "--model", "ours"], "the model 'ours' is for pictures from texts"),
        (["generate", "--prior", "prior"], "--prior is for pictures from texts"),
        (["generate", "--model", "ours", "--prompt", "a", "--eta", 1],
         "--eta 1 is of the sampler 'ddim'"),
        (["generate", "--model", "ours", "--prompt", "a", "--sampler", "ddim", "--eta", 2],
         "--eta 2, expected a number from 0 to 1"),
        (["generate", "--model", "ours", "--prompt", "a", "--temperature", 1],
         "--temperature is given, but a part 'prior' has no such thing"),
        (["generate", "--model", "ours", "--prompt", "a", "--embedding", "none", "--prior-steps",
          2], "--prior-steps is of a prior: add 'prior' to --embedding"),
        (["generate", "--model", "ours", "--prompt", "a", "--candidates", 0],
         "--candidates 0, expected a number of at least 1"),
        (["vary", "faces", "--model", "ours", "--eta", 1], "give --inverted"),
        (["vary", "faces", "--model", "ours", "--inverted", "--eta", -1], "--eta -1, expected a"),
        (["interpolate", "faces/face0.png", "--model", "ours"], "at least 2 pictures, got 1"),
        (["interpolate", "faces", "--model", "ours", "--count", 1], "--count must be at least 2"),
        (["interpolate", "faces", "--model", "karlo"], "so it makes no interpolations"),
        (["interpolate", "faces", "--model", "ours", "--playback", "loop"], "give --animate"),
        (["interpolate", "faces", "--model", "ours", "--animate", "gif", "--frame-duration", 0],
         "--frame-duration must be at least 1, got 0"),
        (["textdiff", "faces", "--model", "ours", "--from", "a", "--to", "a"], "no direction"),
        (["textdiff", "faces", "--model", "ours", "--from", "a", "--to", "b", "--thetas", 2],
         "--thetas 2, expected a number from 0 to 1"),
        (["textdiff", "faces", "--model", "ours", "--from", "a", "--to", "b", "--thetas", 1,
          "--animate", "gif"], "--animate needs at least 2 pictures, got 1"),
        (["reconstruct", "faces", "--model", "ours", "--dims", 9], "dims 9, expected 0 to 8"),
        (["reconstruct", "faces", "--model", "variations"], "no part 'ar_prior' loaded"),
        (["reconstruct", "faces/face9.png", "--model", "ours"], "Did you mean 'face"),
    ],
)  # fmt: skip
def test_mistakes_give_one_line_and_status_2(folder, tmp_path, capsys, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    assert run(*words, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("error: ")
    assert message in error[0]
    assert not (tmp_path / "out").exists()
