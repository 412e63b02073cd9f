"""Captions that are missing are named before anything is trained."""

import numpy as np
import pytest
from helpers.tiny_models import tiny_clip_config
from PIL import Image

from clipdiff_jax.clip.stage import ClipStage
from clipdiff_jax.data.embeddings import EmbeddingsData, open_embeddings, write_embeddings
from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.sources import require_captions
from clipdiff_jax.models import presets
from clipdiff_jax.unclip.stages.decoder import DecoderStage


def folder(root, without=(), empty=()):
    root.mkdir(exist_ok=True)
    for i in range(5):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(root / f"{i}.png")
        if i not in without:
            (root / f"{i}.txt").write_text("\n" if i in empty else "a red face")
    return FolderData(str(root))


def test_all_that_have_none_are_named(tmp_path):
    source = open_folder(folder(tmp_path, without=(2,), empty=(4,)))
    with pytest.raises(ValueError, match=r"2 of 5 images have no caption to learn: 2\.png, 4\.png"):
        require_captions(source, "learn")
    with pytest.raises(ValueError, match="the data has no captions to learn"):
        require_captions(open_folder(folder(tmp_path / "none", without=range(5))), "learn")
    require_captions(open_folder(folder(tmp_path / "all")), "learn")


def test_embeddings_are_looked_at_too(tmp_path):
    examples = [{"embedding": np.ones(4), "captions": ["a"] * (i != 1), "name": f"{i}"}
                for i in range(3)]  # fmt: skip
    write_embeddings(tmp_path, examples, data="d", clip="c")
    with pytest.raises(ValueError, match="1 of 3 images have no caption to learn: 1"):
        require_captions(open_embeddings(EmbeddingsData(str(tmp_path))), "learn")


@pytest.mark.parametrize("stage", ["clip", "decoder"])
def test_stages_refuse_when_they_are_built(tmp_path, stage):
    data = folder(tmp_path, without=(2,))
    config, _ = tiny_clip_config()
    build = {
        "clip": lambda: ClipStage(data=data, clip=config).build(),
        "decoder": lambda: DecoderStage(data=data, model=presets.PAPER_DECODER).build(),
    }
    with pytest.raises(ValueError, match=r"1 of 5 images have no caption to train .*: 2\.png"):
        build[stage]()
