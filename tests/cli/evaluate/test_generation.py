"""`evaluate.py generation`: a row for each setting, and what it says of pictures of one text."""

import json

import pytest
from helpers.tiny_models import write_unclip

from clipdiff_jax.cli.main import evaluate


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_unclip(tmp_path_factory.mktemp("unclip"))


def run(model, out, *words):
    common = ("--count", 2, "--steps", 2, "--batch-size", 4, "--out", out)
    words = ("generation", "--model", model, *common, *words)
    return evaluate([str(word) for word in words])


@pytest.mark.slow
def test_rows_of_each_setting_with_their_variety(model, tmp_path):
    settings = ("--combinations", "unseen", "colours", "--guidance", 1, 2, "--each", 2)
    assert run(model, tmp_path, *settings) == 0
    rows = json.loads((tmp_path / "scores.json").read_text())
    assert [(r["combination"], r["guidance"]) for r in rows] == [
        ("unseen", 1), ("unseen", 2), ("colours", 1), ("colours", 2)
    ]  # fmt: skip
    for row in rows:
        assert row["pictures"] == 4
        assert row["truth"] > row["named"]  # a network of random weights
        assert 0 <= row["varied"] <= 1
        assert row["varied_truth"] > 0.2
    assert (tmp_path / "grid.png").exists()
    assert len((tmp_path / "scores.md").read_text().splitlines()) == 6


@pytest.mark.slow
def test_one_picture_a_text_has_no_variety(model, tmp_path):
    assert run(model, tmp_path, "--combinations", "colours") == 0
    (row,) = json.loads((tmp_path / "scores.json").read_text())
    assert row["pictures"] == 2
    assert row["varied"] is None
    assert (tmp_path / "scores.md").read_text().splitlines()[-1].endswith("|  |")


def test_no_picture_a_text_is_refused(model, tmp_path, capsys):
    assert run(model, tmp_path, "--each", 0) == 2
    assert "--each must be at least 1, got 0" in capsys.readouterr().err
