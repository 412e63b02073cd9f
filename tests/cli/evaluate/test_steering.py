"""`clipdiff evaluate layout` and `shapes`: a row for each way, of the same prompts."""

import json

import pytest
from helpers import tiny_latent

from clipdiff_jax.cli.main import evaluate, main
from clipdiff_jax.latent.load import save_latent


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("steering")
    save_latent(root / "tiny", tiny_latent.model())
    layout = {
        "prompt": "two dogs",
        "regions": [
            {"prompt": "a red cube", "box": [0, 0, 0.5, 1]},
            {"prompt": "a blue cube", "box": [0.5, 0, 1, 1]},
        ],
    }
    (root / "layout.json").write_text(json.dumps(layout))
    return root


def words(*given):
    return [str(one) for one in given]


@pytest.mark.slow
def test_shapes_are_counted_by_each_way(folder, tmp_path):
    command = ("shapes", "--model", folder / "tiny", "--count", 2, "--each", 2, "--steps", 2)
    assert evaluate(words(*command, "--methods", "plain", "collage", "--out", tmp_path)) == 0
    found = json.loads((tmp_path / "scores.json").read_text())["methods"]
    assert list(found) == ["plain", "collage"]
    for row in found.values():
        assert set(row["scores"]) >= {"right", "swapped", "missing", "colored", "spill"}
        assert all(0 <= one["value"] <= 1 for one in row["scores"].values())
    assert len((tmp_path / "scores.md").read_text().splitlines()) == 4


@pytest.mark.slow
def test_pictures_of_a_layout_are_scored(folder, tmp_path, capsys):
    command = ("generate", "--model", folder / "tiny", "--layout", folder / "layout.json")
    assert main(words(*command, "--steps", 1, "--count", 2, "--out", tmp_path / "out")) == 0
    assert evaluate(words("layout", tmp_path / "out", "--out", tmp_path / "scores")) == 0
    found = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert len(found["each"]) == found["pictures"] == 2
    assert 0 <= found["means"]["right"]["value"] <= 1
    plain = ("generate", "--model", folder / "tiny", "--prompt", "a", "--steps", 1)
    assert main(words(*plain, "--out", tmp_path / "plain")) == 0
    assert evaluate(words("layout", tmp_path / "plain", "--out", tmp_path / "no")) != 0
    assert "was made of a layout" in capsys.readouterr().err
