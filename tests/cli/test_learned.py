"""`clipdiff edit --from ... --to ...`: an edit learned where it is asked for, and kept."""

import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_base
from PIL import Image

from clipdiff_jax.cli import learned
from clipdiff_jax.cli.main import main
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.edit import model as edit_model
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import save_diffusion
from clipdiff_jax.weights.errors import WeightsError

TEXTS = ("--from", "a serious face", "--to", "a smiling face")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """base/ and face.png; what would learn writes down what it is asked for."""
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))
    base = tiny_base()
    save_diffusion(tmp_path / "base", base.config, base.params)
    Image.fromarray(to_uint8(pictures(1, 16))[0]).save(tmp_path / "face.png")
    asked = []

    def finetune(images, base, clip, source, target, **options):
        asked.append((len(images), source, target, options))
        objective = EditObjective(source_text=source, target_text=target, t0=300)
        return Edit(base.config, stirred(base.params, 1, 0.02), objective, base.fingerprint)

    monkeypatch.setattr(learned, "finetune_edit", finetune)
    return tmp_path, asked


def edit(root, out, *words):
    command = ["edit", root / "face.png", "--model", root / "base", "--steps", 3, "--out", out]
    return main([str(word) for word in (*command, *words)])


@pytest.mark.slow
def test_an_edit_is_learned_once_and_kept(folder, capsys):
    root, asked = folder
    assert edit(root, root / "one", *TEXTS, "--clip", "demo") == 0
    assert edit(root, root / "two", *TEXTS, "--clip", "demo") == 0
    assert asked == [(1, "a serious face", "a smiling face", {"passes": 48, "batch_size": 4})]
    kept = next((root / "cache" / "edits").iterdir())
    assert kept.name.startswith("a-serious-face-to-a-smiling-face-")
    assert f"--edit {kept}" in capsys.readouterr().err
    (record,) = read_records(root / "one")
    assert record["edits"] == [kept.name]
    both = [np.asarray(Image.open(root / name / "face.png")) for name in ("one", "two")]
    np.testing.assert_array_equal(*both)
    more = (*TEXTS[:-1], "a sad face", "--clip", "demo", "--learn-from", root / "face.png")
    assert edit(root, root / "three", *more) == 0
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--from", "a face"), "give --from and --to"),
        ((*TEXTS[:-1], "a serious face"), "no direction"),
        ((*TEXTS, "--edit", "x"), "leave out --edit, or --from"),
        (("--clip", "demo"), "give --from and --to"),
        ((), "or --from and --to, which learn one"),
        (TEXTS, "--clip is needed with this model"),
    ],
)
def test_what_is_not_enough_is_said(folder, capsys, words, message):
    root, asked = folder
    assert edit(root, root / "out", *words) == 2
    assert message in capsys.readouterr().err
    assert not asked
    assert not (root / "out").exists()


def test_ready_edits_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(edit_model, "ASSETS", tmp_path)
    with pytest.raises(WeightsError, match=r"no ready edit 'demo/smile'.* There are: none"):
        load_edit("demo/smile")
    base = tiny_base()
    objective = EditObjective(source_text="a face", target_text="a smile", t0=300)
    Edit(base.config, base.params, objective, "").save(tmp_path / "edits" / "smile")
    assert edit_model.ready_edits() == ["demo/smile"]
    assert load_edit("demo/smile").objective == objective
    with pytest.raises(WeightsError, match="Did you mean 'demo/smile'"):
        load_edit("demo/smil")
    with pytest.raises(WeightsError, match="no ready edit"):
        load_edit("demo/../../base")
