import dataclasses
import json

import jax
import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_base
from PIL import Image

from clipdiff_jax.cli.main import sample
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.edit.h_space import init_h_space
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.weights.params import fingerprint

EDITS = ("smile", "grin", "shift")
OBJECTIVE = EditObjective(
    source_text="a face", target_text="a smiling face", t0=300, invert_steps=4, train_steps=3
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and pictures on disk: base/, smile/, grin/, shift/ (in h-space), faces/ (three)."""
    root = tmp_path_factory.mktemp("sample")
    base = tiny_base()
    save_diffusion(root / "base", base.config, base.params)
    for seed, name in enumerate(("smile", "grin")):
        params = stirred(base.params, seed, 0.02)
        objective = dataclasses.replace(OBJECTIVE, target_text=name)
        Edit(base.config, params, objective, fingerprint(base.params)).save(root / name)
    params = stirred(init_h_space(base.config, jax.random.key(0)), 2, 0.1)
    objective = dataclasses.replace(OBJECTIVE, mode="h_space")
    Edit(base.config, params, objective, fingerprint(base.params)).save(root / "shift")
    (root / "faces").mkdir()
    for i, image in enumerate(to_uint8(pictures(3, 32))):
        Image.fromarray(image).save(root / "faces" / f"face{i}.png")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))


def run(*words) -> int:
    return sample([str(word) for word in words])


def edit(folder, out, *words) -> int:
    model = ("--model", folder / "base", "--steps", 4)
    return run("edit", folder / "faces", *model, "--batch-size", 2, "--out", out, *words)


def remake(folder, record, out, *words) -> int:
    """Naming the models and pictures that records may use."""
    models = ("--model", folder / "base", *(w for n in EDITS for w in ("--edit", folder / n)))
    return run("remake", record, *models, "--sources", folder / "faces", "--out", out, *words)


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_edit_writes_pictures_grid_and_manifest(folder, tmp_path):
    out = tmp_path / "out"
    assert edit(folder, out, "--edit", folder / "smile") == 0
    names = {"face0.png", "face1.png", "face2.png", "grid.png", "manifest.jsonl"}
    assert {p.name for p in out.iterdir()} == names
    records = read_records(out)
    assert [r["file"] for r in records] == ["face0.png", "face1.png", "face2.png"]
    inside = json.loads(Image.open(out / "face1.png").info["clipdiff_jax"])
    assert inside == records[1]
    assert inside["t0"] == 300
    assert (inside["source"], inside["model"], inside["edits"]) == ("face1.png", "base", ["smile"])
    assert str(tmp_path) not in json.dumps(inside)
    assert pixels(out / "face0.png").shape == (16, 16, 3)


def test_a_picture_is_decoded_once(folder, tmp_path, monkeypatch):
    """However many strengths are asked for, and with the grid."""
    opened = []
    open_image = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(str(path)) or open_image(path))
    assert edit(folder, tmp_path / "out", "--edit", folder / "smile", "--strength", 0.5, 1) == 0
    faces = [path for path in opened if str(folder / "faces") in path]
    assert sorted(faces) == sorted(str(path) for path in (folder / "faces").iterdir())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"command": "edit", "file": "a.png"}, "the record of 'a.png' lacks model"),
        ({"command": "eidt", "file": "a.png"}, "Did you mean 'edit'"),
        ({"file": "a.png"}, "names no command or file"),
        (None, "holds no records"),
    ],
)
def test_records_that_say_too_little_are_refused(tmp_path, capsys, record, message):
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("" if record is None else json.dumps(record))
    assert run("remake", manifest, "--out", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_each_picture_can_be_made_again_alone(folder, tmp_path):
    out = tmp_path / "out"
    settings = ("--random-inversion", "--seed", 3, "--purify", 1, "--strength", 0.5, 1)
    both = ("--edit", folder / "smile", "--edit", folder / "grin", "--ratios", 1, 2)
    assert edit(folder, out, *both, *settings) == 0
    assert len(read_records(out)) == 6
    assert remake(folder, out, tmp_path / "all", "--batch-size", 4) == 0
    alone = out / "face2-0.5.png"
    assert remake(folder, alone, tmp_path / "one") == 0
    for record in read_records(out):
        again = pixels(tmp_path / "all" / record["file"])
        assert np.abs(again - pixels(out / record["file"])).max() <= 1
    assert np.abs(pixels(tmp_path / "one" / alone.name) - pixels(alone)).max() <= 1
    assert np.abs(pixels(out / "face2-1.png") - pixels(alone)).max() > 1


@pytest.mark.slow
def test_coupled_inversion_keeps_the_picture_where_nothing_is_edited(folder, tmp_path):
    out = tmp_path / "out"
    exact = ("--edit", folder / "smile", "--method", "edict", "--strength", 0)
    assert edit(folder, out, *exact) == 0
    for index in range(3):
        kept = pixels(out / f"face{index}.png")
        original = Image.open(folder / "faces" / f"face{index}.png").resize((16, 16), 1)
        assert np.abs(kept - np.asarray(original)).max() <= 2
    assert read_records(out)[0]["method"] == "edict"
    assert remake(folder, out / "face1.png", tmp_path / "again") == 0
    assert np.abs(pixels(tmp_path / "again" / "face1.png") - pixels(out / "face1.png")).max() <= 1


@pytest.mark.slow
def test_an_edit_in_h_space_is_applied_mixed_and_made_again(folder, tmp_path):
    out = tmp_path / "out"
    assert edit(folder, out, "--edit", folder / "shift", "--strength", 0, 1) == 0
    assert np.abs(pixels(out / "face0-1.png") - pixels(out / "face0-0.png")).max() > 2
    both = tmp_path / "both"
    assert edit(folder, both, "--edit", folder / "shift", "--edit", folder / "smile") == 0
    assert remake(folder, both / "face1.png", tmp_path / "again") == 0
    again = pixels(tmp_path / "again" / "face1.png")
    assert np.abs(again - pixels(both / "face1.png")).max() <= 1


def test_remaking_from_something_changed_is_refused(folder, tmp_path, capsys):
    source = tmp_path / "face.png"
    Image.fromarray(to_uint8(pictures(1, 32))[0]).save(source)
    common = ("--model", folder / "base", "--edit", folder / "smile", "--steps", 4)
    assert run("edit", source, *common, "--out", tmp_path / "out") == 0
    Image.fromarray(to_uint8(pictures(1, 32, seed=9))[0]).save(source)
    named = ("--model", folder / "base", "--edit", folder / "smile", "--sources", source)
    assert run("remake", tmp_path / "out", *named, "--out", tmp_path / "again") == 2
    error = capsys.readouterr().err
    assert "face.png' has changed since" in error
    assert not (tmp_path / "again").exists()


def test_a_model_that_is_named_is_taken_or_refused(folder, tmp_path, capsys):
    """Whatever the edit says of its own, and if it is the one of other commands' default."""
    words = ("edit", folder / "faces", "--edit", folder / "smile", "--out", tmp_path / "out")
    assert run(*words, "--model", "demo") == 2
    assert "another config than this base" in capsys.readouterr().err


def test_generate_is_deterministic_and_can_be_made_again(folder, tmp_path):
    common = ("--model", folder / "base", "--count", 3, "--steps", 3, "--eta", 1, "--seed", 5)
    assert run("generate", *common, "--batch-size", 2, "--out", tmp_path / "a") == 0
    assert run("generate", *common, "--batch-size", 3, "--out", tmp_path / "b") == 0
    assert remake(folder, tmp_path / "a" / "5-00002.png", tmp_path / "c") == 0
    third = [pixels(tmp_path / name / "5-00002.png") for name in "abc"]
    assert max(np.abs(third[0] - other).max() for other in third) <= 1
    assert np.abs(third[0] - pixels(tmp_path / "a" / "5-00001.png")).max() > 1
    assert (tmp_path / "a" / "grid.png").exists()


def test_unreadable_pictures_are_named_and_skipped_or_stop(folder, tmp_path, capsys):
    broken = tmp_path / "in" / "broken.png"
    broken.parent.mkdir()
    good = (folder / "faces" / "face0.png").read_bytes()
    broken.write_bytes(good[: len(good) // 2])
    (tmp_path / "in" / "good.png").write_bytes(good)
    common = ("--model", folder / "base", "--edit", folder / "smile", "--steps", 4)
    run_on = lambda path, *more: run("edit", path, *common, "--out", tmp_path / "out", *more)
    assert run_on(broken.parent, "--on-error", "stop") == 2
    assert "broken.png" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert run_on(broken.parent) == 0
    assert "warning: skipped: cannot read" in capsys.readouterr().err
    assert {p.name for p in (tmp_path / "out").glob("g*.png")} == {"good.png", "grid.png"}
    assert run_on(broken) == 2
    assert "none of the 1 pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["faces/face9.png"], "Did you mean 'face"),
        (["empty"], "no pictures in the folder"),
        (["faces", "--model", "bse"], "bse"),
        (["faces", "--edit", "smlie"], "smlie"),
        (["faces", "--edit", "base"], "'edit'"),
        (["faces", "--edit", "shift", "--method", "edict"], "h-space"),
        (["faces", "--method", "fixed_point"], "fixed_point=0"),
        (["faces", "--ratios", "1", "2", "3"], "as many --ratios, got 3"),
        (["faces", "--t0", "2"], "t0 >= 3"),
        (["faces", "--batch-size", "0"], "at least 1"),
    ],
)
def test_mistakes_give_one_line_and_status_2(folder, tmp_path, capsys, monkeypatch, words, message):
    (folder / "empty").mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    if "--model" not in words:
        words = [*words, "--model", "base"]
    if "--edit" not in words:
        words = [*words, "--edit", "smile"]
    assert run("edit", *words, "--steps", 4, "--out", tmp_path / "out") == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ")
    assert message in error[-1]
    assert not list((tmp_path / "out").glob("*"))


def test_small_pictures_are_enlarged_with_a_warning(folder, tmp_path, capsys):
    small = tmp_path / "small.png"
    Image.fromarray(to_uint8(pictures(1, 10))[0]).save(small)
    common = ("--model", folder / "base", "--edit", folder / "smile", "--steps", 4)
    assert run("edit", small, *common, "--out", tmp_path / "out") == 0
    assert "small.png' (10x10) is smaller than the model's 16 pixels" in capsys.readouterr().err


def test_a_manifest_keeps_what_earlier_runs_wrote(folder, tmp_path):
    out = tmp_path / "out"
    assert edit(folder, out, "--edit", folder / "smile") == 0
    assert edit(folder, out, "--edit", folder / "smile", "--strength", 0.5, 0.7) == 0
    files = [r["file"] for r in read_records(out)]
    assert len(files) == len(set(files)) == 9
