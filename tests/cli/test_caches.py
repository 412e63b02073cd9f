"""`clipdiff list` and `clipdiff clean`: what is here, and what of it is deleted, and when."""

import json
import os
import sys

import pytest

from clipdiff_jax.cli.main import main
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.edit.model import load_edit, ready_folder

HASH = "0123456789abcdef"
OURS = {
    "compiled": [f"xla/jit_run-{HASH * 4}-cache", f"xla/jit_run-{HASH * 4}-atime"],
    "avatars": [
        f"avatars-test-64px-{HASH}/{name}" for name in ("faces.jsonl", "images.npy")
    ] + [f".avatars-train-64px-{HASH}-zd228nr2/faces.jsonl"],
    "latents": [f"latents/{HASH}01234567.npz", f"latents/.{HASH}01234567.npz.ab12_x3z"],
    "features": [f"features/{HASH}01234567/00000.npy", f"features/{HASH}01234567/00001.npy"],
}  # fmt: skip
MINE = [
    "notes.txt", "xla/notes.txt", "avatars-test-64px/faces.jsonl", "latents/mine.npz",
    "photos/a.png", "features/mine/00000.npy", f"features/{HASH}76543210/00000.npy",
    f"features/{HASH}76543210/mine",
    f"avatars-test-32px-{HASH}/deep/images.npy",
]  # fmt: skip


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder among somebody's own files; an empty cache of the Hub."""
    root = tmp_path / "cache"
    for name in (*MINE, *(name for names in OURS.values() for name in names)):
        write_whole(root / name, b"0" * 1000)
    for name in (name for names in OURS.values() for name in names):
        for one in (root / name, (root / name).parent):
            os.utime(one, (0, 0))
    write_whole(root / f".avatars-train-16px-{HASH}-ab12cd34" / "faces.jsonl", b"being written")
    load_edit("demo/smile").save(root / "edits" / f"serious-to-smiling-{HASH[:12]}")
    (tmp_path / "elsewhere").mkdir()
    write_whole(tmp_path / "elsewhere" / "faces.jsonl", b"mine")
    (root / f"avatars-valid-64px-{HASH}").symlink_to(tmp_path / "elsewhere")
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(root))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return root


def files(root) -> set[str]:
    return {str(one.relative_to(root)) for one in root.rglob("*") if one.is_file()}


def said(capsys, *words):
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_nothing_is_deleted_unless_it_is_agreed_to(cache, capsys, monkeypatch):
    before = files(cache)
    assert main(["clean"]) == 0
    out = capsys.readouterr().out
    assert "nothing was deleted: --yes deletes it" in out
    assert "0.0 MB       2  avatars: rendered avatars" in out
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys.stdin, "readline", lambda answer=answer: answer, raising=False)
        assert not said(capsys, "clean")["deleted"]
    assert files(cache) == before
    monkeypatch.setattr(sys.stdin, "readline", lambda: "yes\n", raising=False)
    assert said(capsys, "clean", "latents")["deleted"]
    assert before - files(cache) == set(OURS["latents"])


def test_only_ours_is_deleted(cache, tmp_path, capsys):
    """Not the user's files, those behind links, nor edits, unless these are named."""
    before = files(cache)
    found = said(capsys, "clean", "--yes")
    assert found["deleted"]
    assert before - files(cache) == {name for names in OURS.values() for name in names}
    counts = {name: one["count"] for name, one in found["caches"].items()}
    assert counts == {"compiled": 2, "avatars": 2, "latents": 2, "features": 1}
    assert found["bytes"] == 1000 * sum(map(len, OURS.values()))
    assert not (cache / f"avatars-test-64px-{HASH}").exists()
    assert (tmp_path / "elsewhere" / "faces.jsonl").exists()
    assert said(capsys, "clean", "edits", "--yes")["caches"]["edits"]["count"] == 1
    assert not list((cache / "edits").iterdir())
    assert set(MINE) <= files(cache)
    assert f".avatars-train-16px-{HASH}-ab12cd34/faces.jsonl" in files(cache)
    assert said(capsys, "clean", "--yes") == {
        "command": "clean", "folder": str(cache), "bytes": 0, "deleted": False,
        "caches": {name: {"count": 0, "bytes": 0} for name in OURS},
    }  # fmt: skip


def test_what_is_here_is_listed(cache, tmp_path, capsys):
    repository = tmp_path / "hub" / "models--lab--smile"
    write_whole(repository / "refs" / "main", b"c" * 40)
    write_whole(repository / "snapshots" / ("c" * 40) / "config.json", b"0" * 500)
    found = said(capsys, "list")
    ready = {one["name"]: one for one in found["ready"]}
    assert ready["demo/smile"]["what"] == "edit: 'serious' -> 'smiling'"
    files = ready_folder("demo/smile").iterdir()
    assert ready["demo/smile"]["bytes"] == sum(file.stat().st_size for file in files) > 500_000
    assert ready["demo (clip)"]["what"] == "part of demo: clip"
    (learned,) = found["learned"]
    assert learned["what"] == "edit: 'serious' -> 'smiling'"
    assert load_edit(learned["name"]).objective == load_edit("demo/smile").objective
    (cached,) = found["hub"]
    assert (cached["name"], cached["bytes"]) == ("lab/smile", 500)
    sizes = {one["name"]: one["bytes"] for one in found["caches"]}
    assert sizes["clean features"] == 2000
    assert set(said(capsys, "list", "hub")) == {"command", "hub"}
    assert main(["list"]) == 0
    assert "demo/smile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["clean", "latent"], "CACHE is 'latent', expected one of compiled, avatars"),
        (["clean", "edtis", "--yes"], "Did you mean 'edits'?"),
        (["list", "redy"], "Did you mean 'ready'?"),
    ],
)
def test_a_misspelt_name_is_answered(words, message, cache, capsys):
    before = files(cache)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert files(cache) == before
