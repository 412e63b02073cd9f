"""Avatars written as an image folder are read back as they were."""

import numpy as np
import pytest

from clipdiff_jax.cli.main import main
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.select import matching


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))


def test_a_folder_of_avatars_is_read_back(tmp_path, capsys):
    out = tmp_path / "faces"
    arguments = ["--out", str(out), "--size", "24", "--count", "2", "--only", "glasses=none"]
    assert main(["data", *arguments]) == 0
    assert "2 faces" in capsys.readouterr().out
    config = AvatarsData(size=24, split="test", count=100, styles=("avataaars",))
    expected = list(matching(open_avatars(config), ["glasses=none"]))[:2]
    folder = open_folder(FolderData(path=str(out)))
    assert len(folder) == 2
    for index, example in enumerate(expected):
        np.testing.assert_array_equal(folder[index]["image"], example["image"])
        assert folder[index]["captions"] == example["captions"]
        assert example["attributes"]["glasses"] == "none"


def test_conditions_that_fit_nothing_or_cannot_be_read(tmp_path, capsys):
    base = ["--out", str(tmp_path / "x"), "--size", "8", "--count", "1"]
    assert main(["data", *base, "--only", "glasses=monocle"]) == 2
    assert "none of 50 faces is glasses=monocle" in capsys.readouterr().err
    assert main(["data", *base, "--only", "glasses"]) == 2
    assert "attribute=word" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
