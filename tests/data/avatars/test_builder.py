import subprocess
import sys

import numpy as np
import pytest

from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.sources import open_source
from clipdiff_jax.data.tfds_source import TfdsData

pytest.importorskip("dicebear")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Some faces prepared as array records, with their cache in the same place."""
    from clipdiff_jax.data.avatars.builder import Avatars, AvatarsConfig

    folder = tmp_path_factory.mktemp("tfds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPDIFF_JAX_CACHE", str(folder / "cache"))
        config = AvatarsConfig(name="tiny", description="tiny", size=16, train=16, valid=2, test=2)
        Avatars(data_dir=folder, config=config).download_and_prepare()
        yield folder


def test_what_was_built_reads_back(data_dir):
    source = open_source(TfdsData("avatars/tiny", data_dir=str(data_dir)))
    faces = open_avatars(AvatarsData(16, count=16))
    assert len(source) == 16
    by_image = {faces[i]["image"].tobytes(): faces[i] for i in range(16)}
    for i in range(16):
        example = source[i]
        original = by_image.pop(example["image"].tobytes())
        assert example["captions"] == original["captions"]
        shown = {k: v for k, v in example["attributes"].items() if v != "not shown"}
        assert shown == original["attributes"]
    assert not by_image


def test_splits_can_be_sliced(data_dir):
    first, rest, whole = (
        open_source(TfdsData("avatars/tiny", split=split, data_dir=str(data_dir)))
        for split in ("train[:75%]", "train[75%:]", "train")
    )
    assert (len(first), len(rest)) == (12, 4)
    np.testing.assert_array_equal(rest[0]["image"], whole[12]["image"])
    assert len({first.fingerprint, rest.fingerprint, whole.fingerprint}) == 3


def test_reading_needs_neither_tensorflow_nor_the_builder(data_dir):
    code = (
        "import sys; from clipdiff_jax.data.sources import *; "
        f"s = open_source(TfdsData('avatars/tiny', 'test', {str(data_dir)!r})); "
        "print(len(s), s[1]['image'].shape, 'tensorflow' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "2 (16, 16, 3) False", result.stderr


def test_mistakes_are_explained(data_dir, tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'image'"):
        open_source(TfdsData("avatars/tiny", data_dir=str(data_dir), image="imge"))
    with pytest.raises(FileNotFoundError, match="download=True"):
        open_source(TfdsData("mnist", data_dir=str(tmp_path)))
