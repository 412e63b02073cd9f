"""`clipdiff edit --align`, with faces where a stand-in for dlib says that they are."""

import json

import numpy as np
import pytest
from helpers.tiny_models import stirred, tiny_base
from PIL import Image

from clipdiff_jax.cli import photographs
from clipdiff_jax.cli.main import sample
from clipdiff_jax.data.faces import FaceFinder, FoundFace
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pictures.files import load_images
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.weights.params import fingerprint

PLACES = ((40, 50, 12), (100, 60, 9))  # of the faces in photo.png: middle of the eyes, their half


def found_face(x, y, half):
    """Its square has the side 8 x half."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (x - half, y), (x + half, y)
    points[30] = (x, y + half)
    points[48], points[54] = (x - half / 2, y + 2 * half), (x + half / 2, y + 2 * half)
    return FoundFace(points - 0.5, 1.0)


def find(self, photo):
    return [found_face(*one) for one in PLACES] if photo.shape[1] == 150 else []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """base/, edit/, and in photos/ a photograph of two faces and a picture without any."""
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(photographs, "is_installed", lambda: True)
    monkeypatch.setattr(FaceFinder, "load", classmethod(lambda cls: cls(None, None, None)))
    monkeypatch.setattr(FaceFinder, "find", find)
    base = tiny_base()
    save_diffusion(tmp_path / "base", base.config, base.params)
    objective = EditObjective(source_text="a face", target_text="a smile", t0=300)
    params = stirred(base.params, 0, 0.3)
    Edit(base.config, params, objective, fingerprint(base.params)).save(tmp_path / "edit")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("photo", (120, 150, 3)), ("hill", (120, 140, 3))):
        Image.fromarray(rng.integers(0, 255, shape, np.uint8)).save(
            tmp_path / "photos" / f"{name}.png"
        )
    return tmp_path


def run(folder, *words, pictures="photos"):
    made = ["edit", folder / pictures, "--model", folder / "base", "--edit", folder / "edit"]
    return sample([str(word) for word in (*made, "--steps", 3, *words)])


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def inside(shape, places):
    """Where the squares of faces are, and a pixel around."""
    mask = np.zeros(shape[:2], bool)
    for x, y, half in places:
        reach, middle = 4 * half + 1, y + 0.2 * half
        top, left = max(0, int(middle - reach)), max(0, x - reach)
        mask[top : int(middle + reach) + 2, left : x + reach + 2] = True
    return mask


@pytest.mark.parametrize(
    ("align", "places"),
    [pytest.param("largest", PLACES[:1], marks=pytest.mark.slow), ("all", PLACES)],
)
def test_faces_are_edited_within_the_photograph(folder, capsys, align, places):
    out = folder / "out"
    assert run(folder, "--align", align, "--out", out) == 0
    assert "skipped: no face is found in" in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {"photo.png", "grid.png", "manifest.jsonl"}
    before, after = pixels(folder / "photos" / "photo.png"), pixels(out / "photo.png")
    assert after.shape == before.shape
    touched = (before != after).any(-1)
    assert not touched[~inside(before.shape, places)].any()
    for place in places:
        assert touched[inside(before.shape, [place])].mean() > 0.2
    (record,) = read_records(out)
    assert [square[:2] for square in record["squares"]] == [[x, y + 0.2 * h] for x, y, h in places]


@pytest.mark.slow
def test_a_photograph_is_made_again_from_its_record(folder):
    out = folder / "out"
    settings = ("--random-inversion", "--strength", 0.5, 1, "--batch-size", 1)
    assert run(folder, "--align", "all", *settings, "--out", out) == 0
    named = ["--model", folder / "base", "--edit", folder / "edit", "--sources", folder / "photos"]
    words = ["remake", out, *named, "--out", folder / "again"]
    assert sample([str(word) for word in words]) == 0
    for name in ("photo-0.5.png", "photo-1.png"):
        np.testing.assert_array_equal(pixels(out / name), pixels(folder / "again" / name))


@pytest.mark.slow
def test_auto_takes_the_middle_square_where_no_face_is_found(folder):
    """And the largest face where one is; `none` never looks for any."""
    assert run(folder, "--out", folder / "auto") == 0
    assert pixels(folder / "auto" / "photo.png").shape == (120, 150, 3)
    assert pixels(folder / "auto" / "hill.png").shape == (16, 16, 3)
    assert run(folder, "--align", "none", "--out", folder / "none") == 0
    assert pixels(folder / "none" / "photo.png").shape == (16, 16, 3)
    kept = pixels(folder / "auto" / "hill.png"), pixels(folder / "none" / "hill.png")
    np.testing.assert_array_equal(*kept)


@pytest.mark.slow
def test_without_the_extra_photographs_are_cut_and_it_is_said(folder, capsys, monkeypatch):
    monkeypatch.setattr(photographs, "is_installed", lambda: False)
    assert run(folder, "--out", folder / "auto") == 0
    said = capsys.readouterr().err
    assert said.count("pip install 'clipdiff-jax[faces]'") == 1
    assert run(folder, "--align", "all", "--out", folder / "all") == 2
    assert "clipdiff-jax[faces]" in capsys.readouterr().err


def test_no_face_at_all(folder, capsys):
    words = ("--align", "largest", "--out", folder / "out")
    assert run(folder, *words, pictures="photos/hill.png") == 2
    assert "none of the 1 pictures can be used" in capsys.readouterr().err
    assert run(folder, *words, "--on-error", "stop") == 2
    assert "--align none takes its middle square" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("squares", [[], [[1, 2, 3]], [[1, 2, 0, 0]], [[1, 2, 3, "4"]], "all"])
def test_records_with_wrong_squares_are_refused(folder, capsys, squares):
    out = folder / "out"
    assert run(folder, "--align", "all", "--out", out) == 0
    record = read_records(out)[0] | {"squares": squares}
    (folder / "manifest.jsonl").write_text(json.dumps(record) + "\n")
    assert sample(["remake", str(folder / "manifest.jsonl"), "--out", str(folder / "x")]) == 2
    assert "squares of faces" in capsys.readouterr().err


def test_faces_are_loaded_cut_out(folder, caplog):
    photos = folder / "photos"
    assert load_images(photos, 16, align=True).shape == (1, 16, 16, 3)
    assert "no face is found in" in caplog.text
    assert load_images(photos, 16, align="all").shape == (2, 16, 16, 3)
    sizes = [face.shape for face in load_images(photos, align="all")]
    assert sizes == [(96, 96, 3), (72, 72, 3)]
    with pytest.raises(ValueError, match="no face is found in any of the 1"):
        load_images(photos / "hill.png", align=True)
