"""Data by name: a folder, avatars, or one of tensorflow-datasets."""

import json

import pytest

from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.named import data_of
from clipdiff_jax.data.tfds_source import TfdsData


def test_a_folder_keeps_what_is_said_of_folders(tmp_path):
    name = str(tmp_path)
    assert data_of(name) == FolderData(name)
    assert data_of(name, AvatarsData()) == FolderData(name)
    before = FolderData("elsewhere", on_error="skip")
    assert data_of(name, before) == FolderData(name, on_error="skip")
    (tmp_path / "info.json").write_text(json.dumps({}))
    assert data_of(name) == EmbeddingsData(name)


def test_avatars_and_their_splits():
    assert data_of("avatars") == AvatarsData()
    assert data_of("avatars:unseen", AvatarsData(size=32)) == AvatarsData(size=32, split="unseen")
    with pytest.raises(ValueError, match=r"avatars have no split 'tests'.* Did you mean 'test'"):
        data_of("avatars:tests")


def test_data_sets_of_tensorflow_datasets():
    assert data_of("celeb_a_hq/256:train[:70%]") == TfdsData("celeb_a_hq/256", "train[:70%]")
    before = TfdsData("mnist", split="test", data_dir="here", image="picture")
    found = data_of("cifar10", before)
    assert found == TfdsData("cifar10", split="test", data_dir="here", image="picture")


def test_what_is_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "file.png").write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=r"no folder '\./photo'.* Did you mean 'photos'"):
        data_of("./photo")
    with pytest.raises(FileNotFoundError, match="no folder '/nowhere/photos'"):
        data_of("/nowhere/photos")
    with pytest.raises(ValueError, match=r"'file\.png' is a file, expected a folder"):
        data_of("file.png")
