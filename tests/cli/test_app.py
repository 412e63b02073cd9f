"""What the page does: commands run with models that stay loaded. The page itself is clicked in
`test_page.py`."""

import argparse
import json

import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_base
from PIL import Image

from clipdiff_jax.cli.app.workshop import FACE, WHOLE, Workshop, asked
from clipdiff_jax.cli.loaded import Loaded, held
from clipdiff_jax.cli.main import main
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pixel.load import save_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """base/, two edits, face.png and broken.png."""
    root = tmp_path_factory.mktemp("app")
    base = tiny_base()
    save_diffusion(root / "base", base.config, base.params)
    for seed, name in enumerate(("smile", "grin")):
        objective = EditObjective(source_text="a face", target_text="a smile", t0=300)
        params = stirred(base.params, seed, 0.05)
        Edit(base.config, params, objective, base.fingerprint).save(root / name)
    Image.fromarray(to_uint8(pictures(1, 16))[0]).save(root / "face.png")
    (root / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def workshop(folder):
    edits = [str(folder / "smile"), str(folder / "grin")]
    args = argparse.Namespace(
        model=str(folder / "base"), edit=edits, unclip="demo", steps=3, dtype="float32"
    )
    return Workshop.load(args)


def test_each_edit_has_a_slider(workshop):
    assert list(workshop.edits) == ["a face → a smile", "a face → a smile (2)"]


def test_an_edit_is_what_the_command_makes(workshop, folder, tmp_path):
    made = workshop.edit(str(folder / "face.png"), WHOLE, [0.0, 0.75])
    words = ["edit", folder / "face.png", "--model", folder / "base", "--edit", folder / "grin"]
    options = ["--strength", 0.75, "--steps", 3, "--align", "none", "--out", tmp_path / "out"]
    assert main([str(word) for word in (*words, *options)]) == 0
    pages, commands = Image.open(made.files[0]), Image.open(tmp_path / "out" / "face.png")
    np.testing.assert_array_equal(np.asarray(pages), np.asarray(commands))
    record = json.loads(made.records)
    assert record == json.loads(commands.info["clipdiff_jax"]) | {"ratios": [0.75]}
    assert (record["model"], record["edits"]) == ("base", ["grin"])


def test_models_stay_loaded(workshop, folder, monkeypatch):
    def fail(source, dtype):
        raise AssertionError(source)

    monkeypatch.setattr("clipdiff_jax.cli.edit.load_model", fail)
    assert len(workshop.edit(str(folder / "face.png"), WHOLE, [0.0, 0.75]).files) == 1


def test_a_bright_picture_is_edited_as_others_are(workshop, tmp_path):
    """Its floats are from 0 to 1, which a file's may be."""
    rows = np.linspace(128, 255, 16)[:, None, None]
    path = tmp_path / "bright.png"
    Image.fromarray(np.tile(rows, (1, 16, 3)).astype(np.uint8)).save(path)
    assert len(workshop.edit(str(path), WHOLE, [0.0, 0.75]).files) == 1


@pytest.mark.slow
def test_sliders_are_mixed(workshop, folder):
    """Strengths of 0.5 and 1 are a strength of 1.5 in these ratios."""
    record = json.loads(workshop.edit(str(folder / "face.png"), FACE, [0.5, 1.0]).records)
    assert (record["ratios"], record["strength"]) == ([0.5, 1.0], 1.5)


def test_a_guidance_of_0_is_not_the_models_own():
    assert asked("a face", 1, 0, 2, 0.0)["guidance"] == 0
    assert "guidance" not in asked("a face", 1, 0, 2, None)


def test_mistakes_are_sentences(workshop, folder):
    with pytest.raises(ValueError, match="no picture yet"):
        workshop.edit(None, FACE, [1.0, 0.0])
    with pytest.raises(ValueError, match="All sliders are at 0"):
        workshop.edit(str(folder / "face.png"), FACE, [0.0, 0.0])
    with pytest.raises(ValueError, match="less than 0"):
        workshop.edit(str(folder / "face.png"), FACE, [-0.5, 0.1])
    with pytest.raises(ValueError, match="text is empty"):
        workshop.generate("  ", 1, 0, 2, None)
    with pytest.raises(ValueError, match="seed is empty"):
        asked("a face", 1, None, 2, None)
    with pytest.raises(ValueError, match="seed is empty"):
        workshop.vary(str(folder / "face.png"), 1, None)
    with pytest.raises(ValueError, match=r"cannot read the image .*broken.png"):
        workshop.edit(str(folder / "broken.png"), FACE, [1.0, 0.0])
    with pytest.raises(ValueError, match="no picture yet"):
        workshop.vary(None, 1, 0)
    with pytest.raises(ValueError, match="Two pictures"):
        workshop.interpolate(None, str(folder / "face.png"), 2, 2)
    with pytest.raises(ValueError, match="second text is empty"):
        workshop.text_diff(str(folder / "face.png"), "a", "", 2)


def test_loaded_models_go_by_their_names():
    named = Loaded.of("demo", 5)
    assert named == "demo"
    assert held(named, int, lambda: 1) == 5
    assert held("demo", int, lambda: 1) == 1
    with pytest.raises(TypeError, match="'demo' is a int, not a str"):
        held(named, str, lambda: "")


def test_without_gradio_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["app"]) == 2
    assert "pip install 'clipdiff-jax[app]'" in capsys.readouterr().err
