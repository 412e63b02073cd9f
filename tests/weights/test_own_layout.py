"""A weight layout of one's own: a value of a few functions, tried beside the ones there are."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from helpers.tiny_models import tiny_base
from safetensors.numpy import load_file, save_file

import clipdiff_jax as cd
from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.layouts import pixel, pixel_ddpm
from clipdiff_jax.weights.loading import first_match, read_first
from clipdiff_jax.weights.tables import export_params


def matches(path):
    return (path / "net.json").is_file()


def read(path, reading):
    config = from_dict(DiffusionConfig, json.loads((path / "net.json").read_text()))
    tensors, init = load_file(path / "net.safetensors"), partial(init_params, config)
    return DiffusionWeights(
        config, fill_params(pixel_ddpm.TABLE, tensors, init, reading.param_dtype)
    )


def write(path, weights):
    path.mkdir()
    (path / "net.json").write_text(json.dumps(to_dict(weights.config)))
    save_file(export_params(pixel_ddpm.TABLE, weights.params), path / "net.safetensors")


NET = Layout("net", "'net.json'", matches, read, lambda config: pixel_ddpm.TABLE, write)


def test_it_is_read_and_written_like_any_other(tmp_path):
    base = tiny_base()
    NET.write(tmp_path / "there", DiffusionWeights(base.config, base.params))
    with pytest.raises(WeightsError, match="no model that is known"):
        cd.load_diffusion(tmp_path / "there")
    model = cd.load_diffusion(tmp_path / "there", layouts=(*pixel.LAYOUTS, NET))
    assert model.config == base.config
    jax.tree.map(np.testing.assert_array_equal, model.params, base.params)
    assert first_match((*pixel.LAYOUTS, NET), tmp_path / "there") is NET


def test_what_is_of_no_layout_is_described(tmp_path):
    file = tmp_path / "a.safetensors"
    save_file({"a": np.zeros(1, np.float32), "b": np.zeros(1, np.float32)}, file)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    for path, seen in (
        (file, r"a file of 2 tensors: a, b"),
        (tmp_path / "folder", r"a folder with notes\.txt"),
        (tmp_path / "bert", r"a folder whose config\.json has model_type 'bert'"),
    ):
        with pytest.raises(WeightsError, match=rf"{path.name}' .*\({seen}\): no .* and no 'net"):
            read_first((*pixel.LAYOUTS, NET), path, Reading())


@pytest.mark.parametrize("name", ["clip", "pixel", "unclip"])
def test_every_layout_has_a_name_of_its_own(name):
    from importlib import import_module

    layouts = import_module(f"clipdiff_jax.weights.layouts.{name}").LAYOUTS
    assert len({layout.name for layout in layouts}) == len(layouts)
    assert layouts[0].name == "ours"
