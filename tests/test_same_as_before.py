"""What version ab31f15 wrote is read, and what it computed comes out.

Its files lie in `references/before`, beside the script that made them. Bitwise comparisons of two
versions on one machine are those of `references/before/digest.py`.
"""

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from references.before.computations import BEFORE, COMPUTATIONS, thinned
from references.before.resuming import resume_arguments
from references.before.stand_in import write_stand_ins

import clipdiff_jax as cd
from clipdiff_jax.pictures.labels import PNG_CHUNK

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
train, sample, evaluate = (
    runpy.run_path(str(ROOT / f"{name}.py"))["main"] for name in ("train", "sample", "evaluate")
)
EXPECTED = np.load(BEFORE / "expected" / "outputs.npz")
NOT_PORTABLE = ("learned_in_h_space",)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def before(tmp_path, monkeypatch):
    """A copy of the old files, in the current folder: their records hold paths relative to it."""
    copied = tmp_path / "before"
    shutil.copytree(BEFORE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    write_stand_ins(copied / "stand_ins")
    monkeypatch.chdir(copied)
    return copied


@pytest.mark.parametrize("name", [name for name in COMPUTATIONS if name not in NOT_PORTABLE])
def test_numbers(name):
    """To 5e-5 of each output's size, or of 1: with the compiler's optimisations and without them
    pictures differ by up to 7e-6, and embeddings of size 15 by up to 5e-5."""
    outputs = COMPUTATIONS[name]()
    stored = {key.removeprefix(f"{name}: ") for key in EXPECTED if key.startswith(f"{name}: ")}
    assert set(outputs) == stored
    for output, array in outputs.items():
        wanted = EXPECTED[f"{name}: {output}"]
        size = max(1.0, float(np.sqrt(np.mean(wanted**2))))
        np.testing.assert_allclose(thinned(array), wanted, rtol=0, atol=5e-5 * size, err_msg=output)


def test_an_interrupted_run_goes_on(before, capsys):
    """Its config is read again and is the same, and so is where it ends."""
    config = json.loads((before / "work" / "config.json").read_text())
    assert train([*resume_arguments(config), "--workdir", "work"]) == 0
    said = capsys.readouterr().err
    assert "resuming from step 5" in said
    assert "warning" not in said.lower().replace("warning:absl", "")
    assert json.loads((before / "work" / "config.json").read_text()) == config
    log, wanted = (
        [json.loads(line) for line in (before / path).read_text().splitlines()]
        for path in ("work/log.jsonl", "expected/resumed_log.jsonl")
    )
    assert [line["step"] for line in log] == list(range(1, 13))
    for now, then in zip(log, wanted, strict=True):
        assert set(now) == set(then)
        for name in ("loss", "mse", "grad_norm"):
            assert now[name] == pytest.approx(then[name], rel=1e-4)
    model, old = (cd.load_diffusion(before / f) for f in ("work", "expected/resumed_model"))
    assert model.config == old.config
    # Adam divides by the gradient's size: where that is next to nothing, rounding turns updates.
    x_t = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x_t, 400), old.predict(x_t, 400), atol=1e-4)


def test_an_unfinished_run_has_a_model(before):
    """The work folder itself is a source."""
    of_run, of_folder = (cd.load_diffusion(before / f) for f in ("work", "work/model"))
    x_t = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(of_run.predict(x_t, 5), of_folder.predict(x_t, 5))


@pytest.mark.parametrize("name", sorted(p.name for p in (BEFORE / "records").iterdir()))
def test_pictures_are_made_again(before, name):
    old, again = before / "records" / name, before / "again"
    assert sample(["remake", str(old), "--allow-sources", "--out", str(again)]) == 0
    manifest = (again / "manifest.jsonl").read_text()
    assert manifest == (old / "manifest.jsonl").read_text()
    for record in map(json.loads, manifest.splitlines()):
        assert_same_picture(again / record["file"], old / record["file"])


def test_a_picture_is_made_again_by_what_it_says_itself(before):
    old, again = before / "records" / "edit", before / "again"
    picture = str(old / "face1-0.5.png")
    assert sample(["remake", picture, "--allow-sources", "--out", str(again)]) == 0
    assert_same_picture(again / "face1-0.5.png", old / "face1-0.5.png")


def assert_same_picture(now: Path, then: Path) -> None:
    """The same record inside and a label beside it, which that version did not write; the same
    pixels but for values that round either way."""
    with Image.open(now) as new, Image.open(then) as old:
        assert set(new.text) - set(old.text) == {PNG_CHUNK}
        assert {name: new.text[name] for name in old.text} == old.text
        difference = np.abs(np.asarray(new).astype(int) - np.asarray(old))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.002


def test_pictures_measure_the_same(before):
    options = ["--reference", "pictures", "--rounds", "4", "--out", "measured"]
    assert evaluate(["images", "records", *options]) == 0
    now = json.loads((before / "measured" / "scores.json").read_text())
    then = json.loads((before / "expected" / "images.json").read_text())
    for name in ("value", "uncertainty"):
        found, wanted = (one["metrics"]["cmmd"].pop(name) for one in (now, then))
        assert found == pytest.approx(wanted, abs=1e-3)
    assert now == then
