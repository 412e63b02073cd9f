"""What a record may ask for: it is checked whole, and opens nothing that was not named."""

import json

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.cli.recorded import check_record
from clipdiff_jax.cli.remake import Named
from clipdiff_jax.cli.sources import digest
from clipdiff_jax.pictures.records import RecordError
from clipdiff_jax.weights import hub

GENERATED = {
    "command": "generate", "model": "demo", "model_fingerprint": "0123", "dtype": "float32",
    "seed": 0, "index": 0, "steps": 2, "sampler": "ddim", "eta": 0.0, "file": "a.png",
}  # fmt: skip
SOURCE = {"source": "face.png", "source_sha256": "ab"}
EDITED = {
    **GENERATED, **SOURCE, "command": "edit", "edits": ["smile"], "edit_fingerprints": ["45"],
    "strength": 1.0,
}  # fmt: skip
GUIDED = {
    **GENERATED, "command": "guide", "prompts": ["a face"], "clips": ["demo"],
    "clip_fingerprints": ["67"], "scale": 10.0,
}  # fmt: skip
VARIED = {**GENERATED, **SOURCE, "command": "vary", "guidance": 1.0, "upsample_steps": 2}

INVERTED = {k: v for k, v in VARIED.items() if k != "sampler"} | {"inverted": True, "eta": 0.5}


@pytest.mark.parametrize(
    "record", [GENERATED, {**GENERATED, "prompt": "a"}, EDITED, GUIDED, VARIED, INVERTED]
)
def test_good_records_pass(record):
    check_record(record)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({**GENERATED, "command": [1]}, r"made by \[1\], not one of generate"),
        ({**GENERATED, "command": "eidt"}, "Did you mean 'edit'"),
        ({k: v for k, v in GENERATED.items() if k != "steps"}, "lacks steps"),
        ({k: v for k, v in VARIED.items() if k != "guidance"}, "lacks guidance"),
        ({k: v for k, v in EDITED.items() if k != "source_sha256"}, "lacks source_sha256"),
        ({**GENERATED, "seed": "a"}, "seed='a', expected a whole number from 0"),
        ({**GENERATED, "seed": -1}, "seed=-1, expected a whole number"),
        ({**GENERATED, "seed": 10**30}, "seed=1000.*expected a whole number"),
        ({**GENERATED, "seed": True}, "seed=True, expected a whole number"),
        ({**GENERATED, "index": "x"}, "index='x', expected a whole number"),
        ({**GENERATED, "index": 2**31}, "index=2147483648, expected a whole number"),
        ({**GENERATED, "steps": 10**9}, "steps must be between"),
        ({**GENERATED, "steps": "many"}, "steps is .many., expected a whole number"),
        ({**GENERATED, "eta": float("nan")}, "eta"),
        ({**GENERATED, "sampler": "os.system"}, "os.system"),
        ({**GENERATED, "dtype": "os.system"}, "expected one of float32, bfloat16"),
        ({**GENERATED, "model": ["x"]}, r"model=\['x'\], expected a text"),
        ({**GENERATED, "model": "a" * 999 + "\0"}, r"model='a{70,80}\.\.\., expected a text"),
        ({**GENERATED, "file": 5}, "file is 5, expected a plain name"),
        ({**GENERATED, "file": "../a.png"}, "file is '../a.png', expected a plain name"),
        ({**GENERATED, "file": "/tmp/a.png"}, "file is '/tmp/a.png', expected a plain name"),
        ({**EDITED, "edits": "smile"}, "edits='smile', expected a list of texts"),
        ({**EDITED, "edits": ["a", "b"]}, "not one fingerprint for each edit"),
        ({**GUIDED, "clips": []}, "not one fingerprint for each clip"),
        ({**GUIDED, "prompts": "a face"}, "prompts='a face', expected a list of texts"),
        ({**GUIDED, "cutouts": 0}, "cutouts=0"),
        ({k: v for k, v in GUIDED.items() if k != "prompts"}, "lacks prompts"),
        ({**EDITED, "strength": float("inf")}, "strength=inf, expected a finite number"),
        ({**EDITED, "source": 3}, "source=3, expected a text"),
        ({**EDITED, "method": "edct"}, "edct"),
        ({**INVERTED, "eta": 2}, "eta=2, expected a number from 0 to 1"),
        ({**VARIED, "inverted": "yes"}, "inverted='yes', expected true or false"),
    ],
)
def test_values_that_a_record_cannot_have(record, message):
    with pytest.raises(RecordError, match=message):
        check_record(record)


@pytest.mark.parametrize(
    ("record", "name", "option"),
    [
        ({**GENERATED, "model": "/etc"}, "/etc", "--model"),
        ({**GENERATED, "model": "evil/repo"}, "evil/repo", "--model"),
        ({**GENERATED, "model": "../base"}, "../base", "--model"),
        ({**EDITED, "edits": ["evil/edit"]}, "evil/edit", "--edit"),
        ({**EDITED, "edits": [], "edit_fingerprints": [], "source": "/etc/passwd"},
         "/etc/passwd", "--sources"),
    ],
)  # fmt: skip
def test_nothing_is_opened_that_was_not_named(record, name, option, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(hub, "snapshot_download", lambda *a, **k: pytest.fail("downloaded"))
    (tmp_path / "manifest.jsonl").write_text(json.dumps(record) + "\n")
    out = tmp_path / "out"
    assert main(["remake", str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 'a.png' was made ")
    assert f"'{name}': give it by {option}, or --allow-sources" in said
    assert not out.exists()


def test_models_and_edits_are_found_by_name_or_place():
    named = Named(["runs/base", "runs/other"], {"edits": ["x/smile", "y/grin"]}, {}, False)
    record = {**EDITED, "model": "base", "edits": ["grin", "smile"]}
    opened = named.opened(record)
    assert (opened["model"], opened["edits"]) == ("runs/base", ["y/grin", "x/smile"])
    moved = Named(["new"], {"edits": ["a", "b"]}, {}, False).opened(record)
    assert (moved["model"], moved["edits"]) == ("new", ["a", "b"])
    with pytest.raises(RecordError, match="'smile': give it by --edit"):
        Named(["base"], {"edits": ["grin"]}, {}, False).opened(record)
    anything = Named([], {}, {}, True).opened({**record, "model": "org/name"})
    assert (anything["model"], anything["edits"]) == ("org/name", ["grin", "smile"])


def test_pictures_are_found_by_what_is_in_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save("renamed.png")
    path = tmp_path / "renamed.png"
    record = {**EDITED, "source_sha256": digest(path)}
    given = Named([], {}, {digest(path): path}, False)
    assert given.files(record) == {digest(path): path}
    with pytest.raises(RecordError, match=r"made of the picture 'face.png': give it by --sources"):
        Named([], {}, {}, False).files(record)
    path.rename("face.png")
    assert Named([], {}, {}, True).files(record)[digest(tmp_path / "face.png")].name == "face.png"
    with pytest.raises(ValueError, match=r"'face.png' has changed since 'a.png' was made"):
        Named([], {}, {}, True).files({**record, "source_sha256": "cd"})
