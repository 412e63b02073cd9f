"""Avatars written as an image folder are read back as they were; data sets prepared by name."""

import io
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.select import matching
from clipdiff_jax.data.sources import open_source
from clipdiff_jax.data.tfds_source import TfdsData


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


class ToyPictures(tfds.core.GeneratorBasedBuilder):
    """Three pictures with a caption each."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"image": tfds.features.Image(shape=(8, 8, 3)), "captions": tfds.features.Text()}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(3):
            file = io.BytesIO()
            Image.new("RGB", (8, 8), (index, 0, 0)).save(file, "png")
            file.seek(0)
            yield index, {"image": file, "captions": f"number {index}"}


def test_a_data_set_is_prepared_by_name(tmp_path, capsys):
    words = ["data", "prepare", "toy_pictures", "--data-dir", str(tmp_path)]
    assert main(words) == 0
    assert "'toy_pictures' is prepared in" in capsys.readouterr().out
    source = open_source(TfdsData("toy_pictures", data_dir=str(tmp_path)))
    assert sorted(source[i]["captions"][0] for i in range(3)) == [f"number {i}" for i in range(3)]
    assert main(words) == 0  # what is there stays
    assert "tensorflow" not in sys.modules


def test_what_cannot_be_prepared(tmp_path, capsys):
    place = ["--data-dir", str(tmp_path)]
    assert main(["data", "prepare", "toy_picturs", *place]) == 2
    assert "no data set 'toy_picturs'" in capsys.readouterr().err
    assert main(["data", "prepare"]) == 2
    assert "give the name of a data set" in capsys.readouterr().err
    assert main(["data", "--data-dir", "x"]) == 2
    assert "are of `clipdiff data prepare`" in capsys.readouterr().err
    assert main(["data"]) == 2
    assert "--out is needed" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="clipdiff data prepare toy_pictures --data-dir"):
        open_source(TfdsData("toy_pictures", data_dir=str(tmp_path)))
