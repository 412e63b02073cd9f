"""Models with classes, of grey pictures, of short schedules: used rightly, or refused at once."""

import dataclasses
import inspect

import numpy as np
import pytest
from helpers.tiny_models import drawn, pictures, tiny_base
from PIL import Image

import clipdiff_jax as cd
from clipdiff_jax.cli.main import main
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pixel import init_params
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.pixel.model import Diffusion, as_times


def model(**network) -> Diffusion:
    base = tiny_base()
    unet = dataclasses.replace(base.config.unet, **network)
    config = dataclasses.replace(base.config, unet=unet, image_size=8)
    return Diffusion(config, drawn(lambda key: init_params(config, key), 0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    for name, network in {
        "classes": {"num_classes": 3},
        "grey": {"in_channels": 1, "out_channels": 1},
        "four": {"in_channels": 4, "out_channels": 4},
    }.items():
        made = model(**network)
        save_diffusion(root / name, made.config, made.params)
    Image.fromarray(to_uint8(pictures(1, 20))[0]).save(root / "face.png")
    return root


def run(*words) -> int:
    return main([str(word) for word in words])


def test_classes_take_turns_and_are_recorded(folder, tmp_path, capsys):
    words = ("generate", "--model", folder / "classes", "--count", 3, "--steps", 2)
    assert run(*words, "--class", 2, 0, "--out", tmp_path / "out") == 0
    records = read_records(tmp_path / "out")
    assert [record["class"] for record in records] == [2, 0, 2]
    one = tmp_path / "out" / records[1]["file"]
    named = ("--model", folder / "classes", "--out", tmp_path / "again")
    assert run("remake", one, *named) == 0
    pixels = [np.asarray(Image.open(path)) for path in (one, tmp_path / "again" / one.name)]
    assert np.abs(pixels[0].astype(int) - pixels[1]).max() <= 1
    for more, message in (
        ((), "this model has 3 classes: give --class"),
        (("--class", 3), "classes are 0 .. 2"),
        (("--class", -1), "classes are 0 .. 2"),
    ):
        assert run(*words, *more, "--out", tmp_path / "none") == 2
        assert message in capsys.readouterr().err
    assert run("generate", "--model", "demo", "--class", 1, "--out", tmp_path / "none") == 2
    assert "takes no classes" in capsys.readouterr().err
    assert run("generate", "--prompt", "a", "--class", 1, "--out", tmp_path / "none") == 2
    assert "--class is of models without texts" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_grey_pictures_are_saved_as_such(folder, tmp_path, capsys):
    words = ("generate", "--count", 2, "--steps", 2)
    assert run(*words, "--model", folder / "grey", "--out", tmp_path / "out") == 0
    pixels = np.asarray(Image.open(tmp_path / "out" / "0-00000.png"))
    assert pixels.shape == (8, 8, 3)
    assert (pixels == pixels[..., :1]).all()
    assert pixels.std() > 1
    assert run(*words, "--model", folder / "four", "--out", tmp_path / "none") == 2
    assert "this model draws pictures of 4 channels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [("classes", "has 3 classes, editing takes one without"), ("grey", "pictures of 1 channel")],
)
def test_editing_refuses_them(folder, name, message):
    base = cd.load_diffusion(folder / name)
    with pytest.raises(ValueError, match=message):
        cd.reconstruct(pictures(1, 8), base, steps=2)


def test_times_beyond_the_schedule():
    base = tiny_base(schedule=DiscreteSchedule(num_steps=100))
    with pytest.raises(ValueError, match="t0=500, expected a number from 1 to 99"):
        cd.reconstruct(pictures(1), base, t0=500, steps=3)
    for t in (-5, 100, 10**5):
        with pytest.raises(ValueError, match="whole numbers from 0 to 99"):
            base.predict(pictures(1), t)
    for t in (1.7, np.array([1.0]), "1", True):
        with pytest.raises(ValueError, match="whole numbers from 0 to 99"):
            inspect.unwrap(as_times)(t, 100)
    assert int(as_times(np.int64(99), 100)) == 99


@pytest.mark.parametrize(
    ("x_t", "message"),
    [
        (np.zeros((1, 16, 16, 4), np.float32), r"x_t is float32\[1, 16, 16, 4\], expected floats"),
        (np.zeros((16, 16, 3), np.float32), r"x_t is float32\[16, 16, 3\]"),
        (np.zeros((1, 16, 16, 3), np.uint8), r"x_t is uint8"),
        (np.full((1, 16, 16, 3), np.nan, np.float32), "not finite"),
    ],
)
def test_what_is_no_noisy_picture(x_t, message):
    with pytest.raises(ValueError, match=message):
        tiny_base().predict(x_t, 5)


@pytest.mark.parametrize("count", [0, -1])
def test_counts(count):
    with pytest.raises(ValueError, match=f"count={count}, expected a number of at least 1"):
        tiny_base().generate(count, key=0, steps=2)
