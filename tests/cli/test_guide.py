"""`clipdiff guide`: pictures, records that make them again, and what is refused before sampling."""

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip

import clipdiff_jax as cd
from clipdiff_jax.cli.main import main
from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import save_diffusion

FEW = ["--steps", "3", "--cutouts", "2"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder, base, clip = tmp_path_factory.mktemp("models"), tiny_base(), tiny_clip()
    save_diffusion(folder / "base", base.config, base.params)
    save_clip(folder / "clip", clip.config, clip.params, clip.tokenizer)
    return ["--model", str(folder / "base"), "--clip", str(folder / "clip")]


def test_pictures_of_texts_and_the_same_again(models, tmp_path):
    cd.save_images(pictures(1), tmp_path / "in")
    init = next((tmp_path / "in").glob("*.png"))
    out, again = tmp_path / "out", tmp_path / "again"
    words = ["guide", "a face", "a smiling face:-0.5", *models, *FEW, "--count", "2", "--seed", "3"]
    assert main([*words, "--init", str(init), "--skip", "1", "--out", str(out)]) == 0
    assert (out / "grid.png").is_file()
    records = read_records(out)
    assert [one["file"] for one in records] == ["3-00000.png", "3-00001.png"]
    assert records[0]["prompts"] == ["a face", "a smiling face:-0.5"]
    assert not any(str(tmp_path) in str(value) for value in records[0].values())
    assert main(["remake", str(out), *models, "--sources", str(init), "--out", str(again)]) == 0
    first, second = (cd.load_images(folder / "3-00001.png") for folder in (out, again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a:1", "b:-1"], "sum to 0"),
        (["a", "--skip", "2"], "skip=2 is of a start picture"),
        (["a", "--cutouts", "0"], "--cutouts 0, expected"),
        (["a", "--scale", "nan"], "--scale nan, expected"),
        (["a", "--class", "x"], "--class 'x', expected a whole number or 'random'"),
        (["a", "--class", "3"], "takes no classes"),
        (["a", "--count", "0"], "--count must be at least 1"),
        (["a", "--see", "x_0"], "x_0"),
    ],
)
def test_mistakes_are_one_line(models, words, said, tmp_path, capsys):
    assert main(["guide", *words, *models, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
