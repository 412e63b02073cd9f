"""Image processors' configs: each option is done, of no matter, or refused by name."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip
from safetensors.numpy import load_file, save_file

import clipdiff_jax as cd
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import ClipWeights
from clipdiff_jax.weights.layouts import clip_transformers
from clipdiff_jax.weights.layouts.image_processor import (
    Normalisation,
    find_normalisation,
    read_processor,
    write_processor,
)
from clipdiff_jax.weights.tables import export_params, import_params

SIZE = 32
HALVES = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
BASE = write_processor(SIZE, HALVES)


def test_what_is_written_is_read():
    assert read_processor(BASE, SIZE) == HALVES
    assert read_processor({}, SIZE) == Normalisation()
    assert read_processor({"size": SIZE, "crop_size": SIZE, "image_mean": 0.5}, SIZE).mean == (
        (0.5, 0.5, 0.5)
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 128},
        {"do_normalize": False, "rescale_factor": 1 / 127.5},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": None, "do_rescale": None},
    ],
)
def test_every_scaling_of_pixels_is_done(changes):
    """As transformers: (pixel x factor - mean) / std, of which each may be off."""
    document = BASE | changes
    mean, std = read_processor(document, SIZE)
    pixels = np.array([0.0, 37, 255])[:, None]
    wanted = pixels * np.ones(3)
    if document["do_rescale"] is not False:
        wanted = wanted * (document["rescale_factor"] or 1 / 255)
    if document["do_normalize"]:
        wanted = (wanted - np.array(HALVES.mean)) / np.array(HALVES.std)
    np.testing.assert_allclose((pixels / 255 - mean) / std, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_resize": False}, "do_resize False"),
        ({"do_center_crop": False}, "do_center_crop False"),
        ({"do_pad": True}, "do_pad True"),
        ({"use_square_size": True}, "use_square_size True"),
        ({"default_to_square": True}, "default_to_square True"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order True"),
        ({"size": {"height": SIZE, "width": SIZE}}, "has size .'height'"),
        ({"size": {"shortest_edge": SIZE, "longest_edge": 99}}, "has size .*'longest_edge'"),
        ({"crop_size": {"height": SIZE, "width": 8}}, "has crop_size"),
        ({"crop_size": {}}, "has crop_size"),
        ({"resample": 2}, "has resample 2, expected 3"),
        ({"rescale_factor": 0}, "rescale_factor 0"),
        ({"rescale_factor": "1/255"}, "rescale_factor '1/255'"),
        ({"do_normalize": "no"}, "do_normalize 'no'"),
        ({"image_std": [1, 0, 1]}, "image_std .*none to be 0"),
        ({"image_mean": [0.5]}, r"image_mean \[0.5\], expected three numbers"),
        ({"image_mean": [None, 1, 1]}, "expected three numbers"),
        ({"image_processor_type": "SiglipImageProcessor"}, "'SiglipImageProcessor', expected"),
    ],
)
def test_what_is_not_ours_is_refused_by_name(changes, message):
    with pytest.raises(WeightsError, match=message):
        read_processor(BASE | changes, SIZE)


def test_where_it_lies(tmp_path, caplog):
    other = write_processor(SIZE, Normalisation())
    with caplog.at_level(logging.WARNING, "clipdiff_jax"):
        assert find_normalisation(tmp_path, SIZE) == Normalisation()
    assert "mean and deviation of OpenAI's CLIP" in caplog.text
    with pytest.raises(WeightsError, match="preprocessor_config"):
        find_normalisation(tmp_path, SIZE, required=True)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(other))
    (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    assert find_normalisation(tmp_path, SIZE) == Normalisation()
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": BASE}))
    assert find_normalisation(tmp_path, SIZE) == HALVES
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": [1]}))
    with pytest.raises(WeightsError, match=r"processor_config\.json.* holds a list"):
        find_normalisation(tmp_path, SIZE)


def test_a_clip_as_transformers_5_saves_it(tmp_path):
    """The image processor is an entry of `processor_config.json`, and counts."""
    clip = tiny_clip()
    config = dataclasses.replace(clip.config, image_mean=HALVES.mean, image_std=HALVES.std)
    clip_transformers.write(tmp_path / "clip", ClipWeights(config, clip.params, clip.tokenizer))
    old = tmp_path / "clip" / "preprocessor_config.json"
    nested = {"image_processor": json.loads(old.read_text()), "processor_class": "CLIPProcessor"}
    (tmp_path / "clip" / "processor_config.json").write_text(json.dumps(nested))
    old.unlink()
    loaded = cd.load_clip(tmp_path / "clip")
    assert loaded.config == config
    images = pictures(2)
    want = dataclasses.replace(clip, config=config).embed_images(images)
    np.testing.assert_allclose(loaded.embed_images(images), want, rtol=1e-5, atol=1e-5)


def test_a_text_tower_with_and_without_its_prefix(tmp_path):
    clip = tiny_clip()
    text = {"text": clip.params["text"]}
    whole = export_params(clip_transformers.TABLE, clip.params)
    names = {n: a for n, a in whole.items() if n.startswith("text_")}
    bare = {n.removeprefix("text_model."): a for n, a in names.items()}
    assert export_params(clip_transformers.TEXT_TABLE, text).keys() == names.keys()
    for tensors in (names, bare):
        save_file(tensors, tmp_path / "tower.safetensors")
        back = import_params(
            clip_transformers.TEXT_TABLE, load_file(tmp_path / "tower.safetensors"), text
        )
        np.testing.assert_array_equal(
            back["text"]["position_embedding"], text["text"]["position_embedding"]
        )
