"""Embeddings on disk: what is written is read, by position, also by a loader's workers."""

import json
import pickle

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip

from clipdiff_jax.clip.embed import EmbedConfig, embed
from clipdiff_jax.clip.model import save_clip
from clipdiff_jax.data.embeddings import EmbeddingsData, open_embeddings, write_embeddings
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.weights.params import fingerprint


def examples(count: int = 5, width: int = 7):
    z = np.random.default_rng(0).normal(size=(count, width)).astype(np.float32)
    return z, [
        {
            "embedding": z[i],
            "captions": [f"number {i}"],
            "attributes": {"n": str(i)},
            "name": f"{i}",
        }
        for i in range(count)
    ]


def test_what_is_written_is_read(tmp_path):
    z, written = examples()
    info = write_embeddings(tmp_path / "e", iter(written), data="d", clip="c")
    assert (info.count, info.width, info.data, info.clip) == (5, 7, "d", "c")
    opened = open_embeddings(EmbeddingsData(str(tmp_path / "e")))
    for source in (opened, pickle.loads(pickle.dumps(opened))):
        assert len(source) == 5
        for index in (4, 0, 2):
            example = source[index]
            np.testing.assert_array_equal(example.pop("embedding"), z[index])
            assert example == {k: v for k, v in written[index].items() if k != "embedding"}


def test_what_is_not_whole_is_refused(tmp_path):
    _, written = examples()
    with pytest.raises(FileNotFoundError, match=r"no embeddings in .+ `clipdiff embed"):
        open_embeddings(EmbeddingsData(str(tmp_path)))

    def breaking():
        yield written[0]
        raise RuntimeError("cut off")

    write_embeddings(tmp_path / "e", written, data="d", clip="c")
    with pytest.raises(RuntimeError, match="cut off"):
        write_embeddings(tmp_path / "e", breaking(), data="d", clip="c")
    with pytest.raises(FileNotFoundError, match=r"info\.json' is missing"):
        open_embeddings(EmbeddingsData(str(tmp_path / "e")))
    write_embeddings(tmp_path / "e", written, data="d", clip="c")
    info = tmp_path / "e" / "info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"count": 6}))
    with pytest.raises(ValueError, match=r"has 5 records, its 'info\.json' says 6"):
        open_embeddings(EmbeddingsData(str(tmp_path / "e")))
    with pytest.raises(ValueError, match=r"of one width, got \[\]"):
        write_embeddings(tmp_path / "none", [], data="d", clip="c")


def test_embedding_a_folder_equals_clip_on_its_pictures(tmp_path):
    from PIL import Image

    clip, images = tiny_clip(), pictures(5)
    save_clip(tmp_path / "clip", clip.config, clip.params, clip.tokenizer)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(to_uint8(image)).save(tmp_path / "images" / f"{i}.png")
        (tmp_path / "images" / f"{i}.txt").write_text(f"picture {i}\n")
    (tmp_path / "images" / "5.png").write_bytes(b"no picture")
    data = FolderData(str(tmp_path / "images"), on_error="skip")
    config = EmbedConfig(data=data, clip=str(tmp_path / "clip"), batch_size=2)
    info = embed(config, tmp_path / "e", progress=False)
    assert (info.count, info.clip) == (5, fingerprint(clip.params))
    source = open_embeddings(EmbeddingsData(str(tmp_path / "e")))
    stored = np.stack([source[i]["embedding"] for i in range(5)])
    rounded = to_uint8(images).astype(np.float32) / 127.5 - 1
    np.testing.assert_allclose(stored, clip.embed_images(rounded), atol=1e-5)
    assert source[3]["captions"] == ["picture 3"]
    with pytest.raises(ValueError, match="batch_size=0, expected a number of at least 1"):
        embed(EmbedConfig(data=data, clip=str(tmp_path / "clip"), batch_size=0), tmp_path / "e")
