"""Model folders: what is written comes back, all or nothing."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from clipdiff_jax.weights import folder as weights
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import load_folder, save_folder
from clipdiff_jax.weights.params import flatten, unflatten
from clipdiff_jax.weights.safetensors_file import read_safetensors

CONFIG = {"kind": "toy", "width": 3}
PARAMS = {
    "a": {"kernel": jnp.arange(6.0).reshape(2, 3) / 7, "steps": jnp.arange(3)},
    "scale": jnp.float32(0.1),
}


def test_flatten_and_unflatten_are_inverse():
    flat = flatten(PARAMS)
    assert list(flat) == ["a/kernel", "a/steps", "scale"]
    assert flatten(unflatten(flat)) == flat
    with pytest.raises(ValueError, match="'a/b' runs through 'a', which is an array"):
        unflatten({"a": 1, "a/b": 2})
    with pytest.raises(ValueError, match="'a' is both an array and a branch"):
        unflatten({"a/b": 2, "a": 1})
    with pytest.raises(ValueError, match="'a/b' in a parameter tree contains '/'"):
        flatten({"a/b": 1})


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_round_trip(tmp_path, dtype):
    path = save_folder(tmp_path / "new" / "m", CONFIG, PARAMS, dtype, {"note.txt": b"hello"})
    config, params = load_folder(path)
    assert config == {"version": 1, **CONFIG}
    assert (path / "note.txt").read_bytes() == b"hello"
    kernel = params["a"]["kernel"]
    assert kernel.dtype == (ml_dtypes.bfloat16 if dtype else np.float32)
    np.testing.assert_array_equal(kernel, np.asarray(PARAMS["a"]["kernel"]).astype(kernel.dtype))
    assert params["a"]["steps"].dtype == np.int32
    assert params["scale"].shape == ()
    assert not kernel.flags.writeable  # a view of the file
    _, wide = load_folder(path, np.float32)
    assert wide["a"]["kernel"].dtype == np.float32
    assert wide["a"]["steps"].dtype == np.int32


def test_other_readers_understand_the_file(tmp_path):
    path = save_folder(tmp_path / "m", CONFIG, PARAMS)
    np.testing.assert_array_equal(
        load_file(path / "model.safetensors")["a/kernel"], PARAMS["a"]["kernel"]
    )


def test_replacing_leaves_nothing_behind(tmp_path):
    save_folder(tmp_path / "m", CONFIG, PARAMS, extra_files={"merges.txt": b""})
    save_folder(tmp_path / "m", {"kind": "other"}, {"b": jnp.zeros(1)})
    config, params = load_folder(tmp_path / "m")
    assert config["kind"] == "other"
    assert list(params) == ["b"]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert not (tmp_path / "m" / "merges.txt").exists()


def test_a_failed_write_leaves_the_old_folder(tmp_path):
    save_folder(tmp_path / "m", CONFIG, PARAMS)
    with pytest.raises(TypeError):
        save_folder(tmp_path / "m", CONFIG, PARAMS, extra_files={"x": 3})
    assert load_folder(tmp_path / "m")[0]["kind"] == "toy"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    with pytest.raises(ValueError, match="needs a 'kind', got keys"):
        save_folder(tmp_path / "n", {"a": 1}, PARAMS)


def test_what_is_no_model_folder(tmp_path):
    path = save_folder(tmp_path / "model", CONFIG, PARAMS)
    with pytest.raises(WeightsError, match=r"no 'config.json' in .*modle.* mean 'model'"):
        load_folder(tmp_path / "modle")
    (path / "config.json").write_text(json.dumps({"kind": "toy", "version": 2}))
    with pytest.raises(WeightsError, match=r"version 2; expected .* version 1"):
        load_folder(path)
    (path / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="is not JSON"):
        load_folder(path)


def test_damaged_safetensors(tmp_path):
    file = tmp_path / "x.safetensors"
    save_file({"a": np.arange(8, dtype=np.float32)}, file)
    whole = file.read_bytes()
    for content, message in [
        (whole[:-1], "cut short: 'a' ends at 32 of 31 bytes"),
        (whole[:20], "not a complete safetensors file"),
        (b"", "not a complete safetensors file"),
        (b"\x02" + bytes(7) + b"<>" + bytes(9), "no safetensors header"),
        (whole.replace(b"[0,32]", b"[0,28]"), r"28 bytes for F32\(8,\)"),
        (whole.replace(b'"F32"', b'"F99"'), "type 'F99'"),
    ]:
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=message):
            read_safetensors(file)


def test_demo_folders_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "ASSETS", tmp_path)
    with pytest.raises(WeightsError, match="no built-in model 'clip'; there is: none"):
        weights.demo_folder("clip")
    save_folder(tmp_path / "base", CONFIG, PARAMS)
    assert weights.demo_folder("base") == tmp_path / "base"
    with pytest.raises(WeightsError, match="there is: base"):
        weights.demo_folder("clip")


def foreign(path):
    (path / "mine.txt").write_text("precious")


def foreign_folder(path):
    (path / "sub").mkdir()
    (path / "sub" / "mine.txt").write_text("precious")


def foreign_config(path):
    (path / "config.json").write_text('{"editor": "dark"}')


def foreign_beside_a_model(path):
    save_folder(path, CONFIG, PARAMS)
    foreign(path)


@pytest.mark.parametrize(
    "put",
    [foreign, foreign_folder, foreign_config, foreign_beside_a_model],
    ids=lambda f: f.__name__,
)
def test_a_folder_with_other_files_is_left_as_it_is(tmp_path, put):
    folder = tmp_path / "folder"
    folder.mkdir()
    put(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(WeightsError, match="nothing was written"):
        save_folder(folder, CONFIG, {"a": jnp.zeros(2)})
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_or_a_link_is_no_folder_to_replace(tmp_path):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("file", "link"):
        with pytest.raises(WeightsError, match=f"{name}' is no folder"):
            save_folder(tmp_path / name, CONFIG, PARAMS)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "m").mkdir()
    assert load_folder(save_folder(tmp_path / "m", CONFIG, PARAMS))[0]["kind"] == "toy"
