"""`clipdiff watermark` and `generate --watermark`: from a key to marked pictures, and back."""

import json
import logging

import numpy as np
import pytest
from helpers.tiny_models import tiny_base
from PIL import Image

from clipdiff_jax.cli.main import main
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pictures.watermark.key import Key
from clipdiff_jax.pixel.load import save_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, a key, and pictures with and without its mark."""
    root = tmp_path_factory.mktemp("watermark")
    base = tiny_base()
    save_diffusion(root / "base", base.config, base.params)
    assert main(["watermark", "new", str(root / "key.json"), "--steps", "3"]) == 0
    for name, more in (("marked", ["--watermark", str(root / "key.json")]), ("plain", [])):
        assert main([*drawn(root), "--out", str(root / name), *more]) == 0
    return root


def drawn(root):
    return ["generate", "--model", str(root / "base"), "--count", "2", "--steps", "3"]


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_a_record_has_the_fingerprint_and_never_the_secret(folder):
    secret = json.loads((folder / "key.json").read_text())["secret"]
    mark = Key.load(folder / "key.json")
    for record in read_records(folder / "marked"):
        assert record["watermark"] == mark.fingerprint
    for path in (folder / "marked").iterdir():
        content = path.read_bytes()
        assert secret.encode() not in content
        assert str(folder).encode() not in content
        assert b"key.json" not in content
    assert "watermark" not in read_records(folder / "plain")[0]
    assert np.abs(
        pixels(folder / "marked/0-00000.png") - pixels(folder / "plain/0-00000.png")
    ).max()


def test_marked_pictures_are_made_again_with_the_key(folder, capsys):
    again = ["remake", str(folder / "marked"), "--model", str(folder / "base")]
    assert main([*again, "--out", str(folder / "again")]) == 2
    assert "give its file by --watermark" in capsys.readouterr().err
    Key.new().save(folder / "other.json")
    other = ["--watermark", str(folder / "other.json")]
    assert main([*again, "--out", str(folder / "again"), *other]) == 2
    assert not (folder / "again").exists()
    both = [*other, "--watermark", str(folder / "key.json")]
    assert main([*again, "--out", str(folder / "again"), *both]) == 0
    np.testing.assert_array_equal(
        pixels(folder / "again/0-00001.png"), pixels(folder / "marked/0-00001.png")
    )
    assert read_records(folder / "again") == read_records(folder / "marked")


def test_detect_says_a_line_for_each_picture(folder, capsys):
    model = ["--model", str(folder / "base"), "--watermark", str(folder / "key.json")]
    assert main(["watermark", "detect", str(folder / "marked"), *model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("/")[2] for line in lines[:-1]] == ["0-00000.png", "0-00001.png"]
    assert "of 2 pictures" in lines[-1]
    assert lines[-1].endswith(f"have the mark of {Key.load(folder / 'key.json').fingerprint}")


def test_pictures_that_cannot_be_read_are_skipped_or_stop_it(folder, tmp_path, capsys):
    (tmp_path / "bad.png").write_text("no picture")
    model = ["--model", str(folder / "base"), "--watermark", str(folder / "key.json")]
    detect = ["watermark", "detect", str(tmp_path / "bad.png"), *model]
    assert main(detect) == 2
    assert "none of the 1 pictures can be read" in capsys.readouterr().err
    assert main([*detect, "--on-error", "stop"]) == 2
    assert "cannot read the image" in capsys.readouterr().err


def test_calibrate_prints_rates(folder, capsys):
    model = ["--model", str(folder / "base"), "--steps", "3", "--keys", "20"]
    assert main(["watermark", "calibrate", str(folder / "plain"), *model]) == 0
    said = capsys.readouterr().out
    assert "20 keys 'rand'" in said
    assert "the smallest p is" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--sampler", "ancestral"], "'ancestral' draws noise on its way"),
        (["--eta", "0.5"], "eta=0.5 draws noise"),
        (["--steps", "4"], "steps=4, but the watermark key is for 3"),
    ],
)
def test_what_a_mark_would_not_survive_ends_before_it_begins(folder, more, says, capsys):
    words = [*drawn(folder), "--watermark", str(folder / "key.json"), "--out", str(folder / "no")]
    assert main([*words, *more]) == 2
    assert says in capsys.readouterr().err
    assert not (folder / "no").exists()


def test_an_unclip_needs_a_sampler_without_noise(folder, capsys):
    words = ["generate", "--prompt", "a face", "--watermark", str(folder / "key.json")]
    assert main([*words, "--out", str(folder / "no"), "--steps", "3"]) == 2
    assert "take sampler 'ddim'" in capsys.readouterr().err


def test_wrong_command_lines(folder, tmp_path, capsys):
    (tmp_path / "not.json").write_text("[]")
    for words, says in (
        (["watermark", "new", str(folder / "key.json")], "a key that pictures were marked with"),
        (["watermark", "new", str(tmp_path / "k.json"), "--radius", "0"], "radius=0"),
        ([*drawn(folder), "--watermark", str(tmp_path / "not.json")], "is no watermark key"),
        ([*drawn(folder), "--watermark", str(tmp_path / "none.json")], "none.json"),
        ([*drawn(folder), "--publish-prompt"], "give --sign"),
        ([*drawn(folder), "--no-record", "--overwrite"], "leave out --no-record"),
        (["watermark", "find"], "no command 'find'"),
    ):
        assert main([*words]) == 2, words
        assert says in capsys.readouterr().err
    assert not (tmp_path / "k.json").exists()


def test_no_record_and_no_label(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*drawn(folder), "--out", str(out), "--no-record"]) == 0
    assert "manifest" not in capsys.readouterr().out
    assert not (out / "manifest.jsonl").exists()
    assert main(["verify", str(out / "0-00000.png"), str(folder / "marked/0-00000.png")]) == 0
    bare, told = capsys.readouterr().out.split("0-00000.png: ")[1:]
    assert "labelled" in bare
    assert "record" not in bare
    assert "record: command, model" in told
    label = ["--no-label", "--no-record"]
    assert main([*drawn(folder), "--out", str(tmp_path / "silent"), *label]) == 0
    assert main(["verify", str(tmp_path / "silent")]) == 0
    assert capsys.readouterr().out.count("says nothing") == 3  # the grid too


def test_a_signed_run(folder, tmp_path, capsys):
    pytest.importorskip("c2pa")
    from helpers.certificates import write_chain

    sign = ["--sign", *map(str, write_chain(tmp_path / "certificates"))]
    mark = ["--watermark", str(folder / "key.json")]
    assert main([*drawn(folder), "--out", str(tmp_path / "out"), *sign, *mark]) == 0
    assert main(["verify", str(tmp_path / "out/0-00000.png")]) == 0
    said = capsys.readouterr().out
    assert "is signed and unchanged since" in said
    assert "c2pa.created, c2pa.watermarked.unbound" in said
    over = ["--sign", *map(str, write_chain(tmp_path / "over", days=(-9, -1)))]
    assert main([*drawn(folder), "--out", str(tmp_path / "no"), *over]) == 2
    assert "notAfter is" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


def test_a_key_that_others_may_read_is_used_with_a_warning(folder, tmp_path, caplog):
    (tmp_path / "key.json").write_bytes((folder / "key.json").read_bytes())
    (tmp_path / "key.json").chmod(0o644)
    with caplog.at_level(logging.WARNING):
        Key.load(tmp_path / "key.json")
    assert "others on this machine" in caplog.text
