"""What commands say: words, JSON, or nothing; never two of them on standard output."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from clipdiff_jax.cli import verify
from clipdiff_jax.cli.main import main
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.saying import note, tell
from clipdiff_jax.pictures.results import Results

RECORDS = [{"command": "generate", "file": f"{i}.png", "index": i} for i in range(3)]


def speak(args) -> None:
    """A command that says everything that commands say."""
    for _ in tqdm(range(2), file=sys.stderr):
        pass
    tell("one is marked", pictures=[{"p": np.float32(0.5)}], of=2)
    note("they are in 'out'", pictures=[{"p": float("nan")}], folder="out")
    print("somebody else prints")


@pytest.fixture
def command(monkeypatch):
    """The words of `verify`, whose place `speak` has taken."""
    monkeypatch.setattr(verify, "run", speak)
    return ["verify", "anything.png"]


def test_words(command, capsys):
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert out == "one is marked\nthey are in 'out'\nsomebody else prints\n"
    assert "2/2" in err


def test_quiet_leaves_what_was_asked_for(command, capsys):
    assert main([*command, "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out == "one is marked\nsomebody else prints\n"
    assert err == ""
    main(command)
    assert "2/2" in capsys.readouterr().err  # bars are back


def test_json_is_all_of_standard_output(command, capsys):
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    pictures = [{"p": 0.5}, {"p": None}]
    wanted = {"command": "verify", "pictures": pictures, "of": 2, "folder": "out"}
    assert json.loads(out) == wanted
    assert "somebody else prints" in err
    assert "one is marked" not in err


def test_a_mistake_leaves_standard_output_empty(tmp_path, capsys):
    assert main(["verify", str(tmp_path / "nothing.png"), "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: no picture or folder")


def test_pictures_that_are_made_are_listed(tmp_path, monkeypatch, capsys):
    def run(args):
        pictures = lambda records, sources: iter(np.zeros((len(records), 4, 4, 3), np.float32))
        make([Job(Maker(pictures, {}, ("file", "index")), RECORDS, {})], Results(tmp_path), 2)

    monkeypatch.setattr(verify, "run", run)
    assert main(["verify", "x", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["pictures"] == [str(tmp_path / f"{i}.png") for i in range(3)]
    assert (said["folder"], said["made"], said["kept"]) == (str(tmp_path), 3, 0)
    assert said["manifest"] == str(tmp_path / "manifest.jsonl")
    monkeypatch.undo()
    assert main(["verify", str(tmp_path / "1.png"), "--json"]) == 0
    (seen,) = json.loads(capsys.readouterr().out)["pictures"]
    assert seen["state"] == "labelled"
    assert seen["record"] == RECORDS[1]


def test_verify_names_in_json_what_it_cannot_read(tmp_path, capsys):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    assert main(["verify", str(tmp_path), "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["pictures"]
    assert (one["state"], one["record"], other["state"]) == ("silent", None, None)
    assert "b.png" in other["file"]
