"""`clipdiff reassemble`: a picture, its pieces from a folder, and what is refused."""

import json

import numpy as np
import pytest
from helpers.tiny_reassembly import tiny_reassembly
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.metrics.folders import list_pictures


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("puzzle")
    tiny_reassembly().save(folder / "model")
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder, ["--model", str(folder / "model"), "--steps", "3"]


def test_a_picture_and_its_pieces_come_to_the_same(given, tmp_path, capsys):
    folder, options = given
    words = ["reassemble", str(folder / "picture.png"), "--grid", "3", "--shuffle", "1", *options]
    out, again = tmp_path / "out", tmp_path / "again"
    assert main([*words, "--save-pieces", "--out", str(out)]) == 0
    assert "of 9 pieces are in their place" in capsys.readouterr().out
    answer = json.loads((out / "poses.json").read_text())
    assert sorted(answer["cells"]) == list(range(9))
    assert read_image(out / "picture.png").shape == (30, 30, 3)
    with Image.open(out / "walk.gif") as walk:
        assert walk.n_frames > 5
    shown = {one.name for one in list_pictures(out)}  # which leaves out what are grids
    assert shown == {"picture", "shuffled", "walk", *(f"pieces/{index:03d}" for index in range(9))}
    before = (out / "picture.png").read_bytes()
    assert main([*words, "--out", str(out)]) == 2
    assert "nothing was written" in capsys.readouterr().err
    pieces = ["reassemble", "--pieces", str(out / "pieces"), *options, "--animate", "webp"]
    assert main([*pieces, "--out", str(again)]) == 0
    assert json.loads((again / "poses.json").read_text()) == answer
    np.testing.assert_array_equal(
        read_image(again / "picture.png"), read_image(out / "picture.png")
    )
    assert (out / "picture.png").read_bytes() == before


def test_pieces_may_be_missing(given, tmp_path, capsys):
    folder, options = given
    out = tmp_path / "out"
    words = ["reassemble", str(folder / "picture.png"), "--grid", "2x3", "--missing", "0.3"]
    assert main([*words, *options, "--animate", "none", "--out", str(out)]) == 0
    assert "of 4 pieces" in capsys.readouterr().out
    assert read_image(out / "picture.png").shape[:2] == (26, 39)
    assert not (out / "walk.gif").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a picture, or --pieces"),
        (["PICTURE", "--grid", "1"], "grid '1' has 1 piece(s)"),
        (["PICTURE", "--grid", "4"], "more than the 9 that the model takes"),
        (["PICTURE", "--grid", "50"], "smaller than its grid of 50x50"),
        (["PICTURE", "--missing", "1.5"], "--missing 1.5, expected"),
        (["PICTURE", "--grid", "2", "--missing", "0.8"], "1 of 4 pieces are left"),
        (["PICTURE", "--shuffle", "-1"], "--shuffle -1, expected"),
        (["PICTURE", "--grid", "2", "--steps", "21"], "steps must be between 1 and 20"),
        (["PICTURE", "--grid", "2", "--eta", "1"], "give a key"),
        (["picture.pgn"], "no picture or folder"),
        (["--pieces", "nowhere"], "there is no folder 'nowhere'"),
        (["--pieces", "FOLDER", "--shuffle", "1"], "--shuffle is of a picture"),
        (["FOLDER"], "pieces are given by --pieces"),
    ],
)
def test_mistakes_are_one_line(given, words, said, tmp_path, capsys):
    folder, options = given
    places = {"PICTURE": str(folder / "picture.png"), "FOLDER": str(folder)}
    words = [places.get(word, word) for word in words]
    assert main(["reassemble", *options, "--out", str(tmp_path / "out"), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
