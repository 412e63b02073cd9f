"""Models by the id of a repository, found in a local cache of the Hub; what is said of others."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip, write_unclip
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.clip.model import load_clip, save_clip
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pixel.load import load_diffusion, save_diffusion
from clipdiff_jax.unclip.load import load_unclip
from clipdiff_jax.weights.errors import WeightsError

COMMIT = "0" * 40


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with the repositories lab/base, lab/clip, lab/unclip and lab/edit, and no network."""
    root = tmp_path_factory.mktemp("hub")
    base, clip = tiny_base(), tiny_clip()

    def place(name):
        repository = root / f"models--lab--{name}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        return repository / "snapshots" / COMMIT

    save_diffusion(place("base"), base.config, base.params)
    save_clip(place("clip"), clip.config, clip.params, clip.tokenizer)
    objective = EditObjective(source_text="a", target_text="b", t0=300)
    objective = dataclasses.replace(objective, invert_steps=3, train_steps=2)
    Edit(base.config, base.params, objective, "").save(place("edit"))
    write_unclip(place("unclip"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(root))
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield root


def test_every_loader_takes_a_repository(cache):
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    same(load_diffusion("lab/base"), tiny_base())
    same(load_clip("lab/clip"), tiny_clip())
    same(load_edit("lab/edit"), tiny_base())
    assert "decoder" in load_unclip("lab/unclip").loaded


def test_commands_take_repositories_and_records_name_them(cache, tmp_path):
    Image.fromarray(to_uint8(pictures(1, 20))[0]).save(tmp_path / "face.png")
    words = ["edit", str(tmp_path / "face.png"), "--edit", "lab/edit", "--model", "lab/base"]
    out = tmp_path / "out"
    assert main([*words, "--steps", "3", "--out", str(out)]) == 0
    record = read_records(out)[0]
    assert (record["model"], record["edits"]) == ("lab/base", ["lab/edit"])
    again = ["remake", str(out), "--out", str(tmp_path / "again")]
    assert main(again) == 2
    named = ["--model", "lab/base", "--edit", "lab/edit", "--sources", str(tmp_path / "face.png")]
    assert main([*again, *named]) == 0
    assert read_records(tmp_path / "again") == [record]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("lab/bse", "no folder 'lab/bse' here; .*cannot be reached"),
        ("dmeo", "no file or folder 'dmeo'.* Did you mean 'demo'"),
        ("./nowhere", r"no file or folder '\./nowhere'"),
        ("runs/smlie", "no folder 'runs/smlie' here.* Did you mean 'smile'"),
    ],
)
def test_what_is_not_there_is_said_to_be_missing(cache, tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(cache / "models--lab--edit" / "snapshots" / COMMIT, tmp_path / "runs" / "smile")
    for load in (load_diffusion, load_clip, load_edit, load_unclip):
        with pytest.raises(WeightsError, match=message):
            load(source)


def test_a_file_that_is_not_text_is_named(tmp_path, capsys):
    (tmp_path / "prompts.txt").write_bytes(b"caf\xe9\n")
    words = ["--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")]
    assert main(["generate", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert "prompts.txt' is not text in UTF-8" in said
    (tmp_path / "manifest.jsonl").write_bytes(b"\xff\xfe{}")
    assert main(["remake", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "manifest.jsonl' is not text in UTF-8" in capsys.readouterr().err
