"""A key is for its owner's eyes, is never lost, and says what is wrong with it."""

import json
import logging
import os

import pytest

import clipdiff_jax as cd
from clipdiff_jax.pictures.watermark.key import Key

SECRET = bytes(range(32))


def test_a_key_comes_back_from_its_file(tmp_path):
    mark = Key.new(pattern="ring", channel=-1, radius=4, inner=2, steps=20, size=64)
    mark.save(tmp_path / "deep" / "key.json")
    path = tmp_path / "deep" / "key.json"
    assert Key.load(path) == mark
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError, match="exists: a key"):
        Key.new().save(path)
    assert Key.load(path) == mark


def test_no_two_keys_are_the_same():
    assert Key.new().secret != Key.new().secret
    assert cd.watermark.Key is Key


def test_the_secret_is_nowhere_but_in_the_file():
    mark = Key(secret=SECRET)
    assert "secret" not in repr(mark)
    assert SECRET.hex()[:8] not in mark.fingerprint
    assert len(mark.fingerprint) == 16
    others = [Key(secret=SECRET, pattern="ring"), Key(secret=SECRET, radius=3), Key.new()]
    assert len({mark.fingerprint, *(one.fingerprint for one in others)}) == 4


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_key_that_others_may_read_is_named(tmp_path, caplog):
    path = tmp_path / "key.json"
    Key.new().save(path)
    with caplog.at_level(logging.WARNING):
        Key.load(path)
        assert not caplog.records
        path.chmod(0o644)
        Key.load(path)
    assert "others on this machine may read" in caplog.text


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"secret": "00"}, "must be 32 bytes"),
        ({"secret": "z" * 64}, "is no watermark key"),
        ({"secret": None}, "is no watermark key"),
        ({"secret": 3}, "is no watermark key"),
        ({"pattern": "rings"}, r"Did you mean 'ring'\?"),
        ({"pattern": None}, "pattern is None"),
        ({"radius": 0}, "radius=0"),
        ({"radius": 1.5}, "radius=1.5"),
        ({"channel": "last"}, "channel='last'"),
        ({"steps": True}, "steps=True"),
        ({"radiu": 3}, r"Did you mean 'radius'\?"),
        ({"kind": "recipe"}, "no watermark key"),
    ],
)
def test_a_file_that_is_no_key(tmp_path, change, says):
    Key(secret=SECRET).save(tmp_path / "good.json")
    values = json.loads((tmp_path / "good.json").read_text()) | change
    (tmp_path / "key.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=says) as raised:
        Key.load(tmp_path / "key.json")
    assert "key.json" in str(raised.value)
    assert "x01" not in str(raised.value)
    assert SECRET.hex()[:8] not in str(raised.value)


@pytest.mark.parametrize("content", ["", "[]", "3", "{", "null"])
def test_a_file_that_is_something_else(tmp_path, content):
    (tmp_path / "key.json").write_text(content)
    with pytest.raises(ValueError, match=r"key\.json"):
        Key.load(tmp_path / "key.json")
    with pytest.raises(FileNotFoundError):
        Key.load(tmp_path / "none.json")
