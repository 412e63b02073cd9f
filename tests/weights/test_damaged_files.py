"""Damaged files are read, or refused by one error that names them: some seconds of it, seeded.

`python -m helpers.fuzz --count 20000` does the same for longer.
"""

import signal
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from helpers import fuzz
from helpers.torch_files import NUMBERS, tensor, write_legacy, write_zip

from clipdiff_jax.core.json_files import MAX_CONTAINERS, parse_json
from clipdiff_jax.core.npz_files import read_npz
from clipdiff_jax.pictures.records import RecordError, read_records, save_picture
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import read_config
from clipdiff_jax.weights.read import open_tensors

SECONDS = 12.0


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return fuzz.make_targets(tmp_path_factory.mktemp("good"))


def test_nothing_but_models_and_errors_that_name_the_file(targets):
    before = signal.getsignal(signal.SIGPROF)
    fuzz.prepare()
    end, seed = time.monotonic() + SECONDS, 10**6
    try:
        while time.monotonic() < end:
            result, name = fuzz.one_case(targets, seed)
            assert not result.startswith("fault"), (seed, name, result)
            seed += 1
    finally:
        signal.signal(signal.SIGPROF, before)


def test_good_files_are_read(targets):
    for target in targets:
        if target.name.startswith(("evil", "both")):
            with pytest.raises(WeightsError):
                target.read(target.folder / target.file)
        else:
            target.read(target.folder / target.file)


def laughs(depth: int, kind: bytes = b"]") -> bytes:
    """A list of ten times a list of ten times ..., in a few bytes for each."""
    built = kind + b"q\x00"
    for i in range(depth):
        again = (b"h" + bytes([i])) * 10
        built += (b"](" + again + b"e" if kind == b"]" else b"(" + again + b"t") + b"q"
        built += bytes([i + 1])
    return built


def write_pickle(path, pickle, **members):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + pickle + b".")
        for name, content in members.items():
            archive.writestr(f"archive/{name}", content)
    return path


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n%sX\x03\x00\x00\x00cpuK\x04tQ"


@pytest.mark.slow
@pytest.mark.parametrize(
    "pickle",
    [
        STORAGE % laughs(9),
        STORAGE.replace(b"X\x07\x00\x00\x00storage", laughs(9)) % b"X\x01\x00\x00\x000",
        laughs(9),
        b"N" * 50_000 + b"(t0" * 50_000,
        b"](" + b"K\x01" * 20_000 + b"eq\x00ccollections\nOrderedDict\n](" + b"h\x00" * 20_000
        + b"e\x85R",
        b"](" + b"K\x01" * 20_000 + b"e\x85q\x000ctorch\nSize\nq\x010(" + b"h\x01h\x00R" * 20_000
        + b"l0",
        b"]q\x07(" + b"h\x07" * 120_000 + b"e",
        b"}X\x01\x00\x00\x00a" + b")" + b"\x85" * 100_000 + b"s",
        b"]" * 700_000,
    ],
    ids=["key", "kind", "alone", "marks", "pairs", "sizes", "itself", "deep", "lists"],
)  # fmt: skip
def test_small_pickles_of_large_trees_end_soon(tmp_path, pickle):
    path = write_pickle(tmp_path / "x.pt", pickle)
    begun = time.process_time()
    with pytest.raises(WeightsError, match=str(path)):
        open_tensors(path)
    assert time.process_time() - begun < 10


def test_members_are_looked_at_before_they_are_read(tmp_path):
    state = {"a": tensor("0", (6,), (1,))}
    path = write_zip(tmp_path / "x.pt", state, {"0": NUMBERS})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/byteorder", bytes(2**26))
    with pytest.raises(WeightsError, match="'archive/byteorder' is compressed"):
        open_tensors(path)
    other = write_zip(tmp_path / "y.pt", state, {"0": NUMBERS})
    content = bytearray(other.read_bytes())
    at = content.find(b"PK\x01\x02")
    struct.pack_into("<I", content, at + 16, 1)
    other.write_bytes(content)
    with pytest.raises(WeightsError, match=r"data.pkl' is not what was written"):
        open_tensors(other)


@pytest.mark.parametrize("keys", [5, [[]], [laughs]])
def test_the_keys_of_the_older_format_are_names(tmp_path, keys):
    state = {"a": tensor("0", (6,), (1,))}
    path = write_legacy(tmp_path / "x.bin", state, {"0": NUMBERS})
    content = path.read_bytes()
    names = b"\x80\x02]q\x00X\x01\x00\x00\x000q\x01a."
    assert names in content
    new = {5: b"\x80\x02K\x05.", str([[]]): b"\x80\x02](]e."}
    path.write_bytes(content.replace(names, new.get(keys if keys == 5 else str(keys)) or (
        b"\x80\x02](" + laughs(10, b")") + b"e."
    )))  # fmt: skip
    with pytest.raises(WeightsError, match="its storages are not named"):
        open_tensors(path)


def test_json_is_bounded():
    assert parse_json(b'\xef\xbb\xbf{"a": [1]}', "it") == {"a": [1]}
    for text, message in (
        ("[" * 100_000, "it is not JSON that can be read: its nests are too deep"),
        ("[" * (MAX_CONTAINERS + 1), "it has more than 1,048,576 lists"),
        ('{"a": 1, "a": 2}', "it is not JSON: the key 'a' is there twice"),
        ("9" * 5000, "it is not JSON: Exceeds the limit"),
        ('"' + "a" * 50, "it is larger than the 40 bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_json(text, "it", 40 if "larger" in message else 2**21)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"num_hidden_layers": 1000000000}', "num_hidden_layers 1e.09, expected at most 1,000"),
        ('{"x": [{"blocks": [1, 2000]}]}', "blocks 2e.03, expected at most 1,000"),
        ('{"num_train_timesteps": 1e9}', "num_train_timesteps 1e.09, expected at most 1,000,000"),
        ('{"width": %s}' % ("9" * 400), "width a number of many digits"),
    ],
)
def test_counts_are_checked_before_anything_loops_over_them(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=f"'{tmp_path / 'config.json'}' has {message}"):
        read_config(tmp_path)


def test_a_picture_whose_text_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "a.png"
    save_picture(path, np.zeros((4, 4, 3), np.float32), {"command": "x", "file": "a"})
    data = path.read_bytes()
    at = data.find(b"iTXt") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    body = b"clipdiff_jax\0\1\0\0\0" + zlib.compress(bytes(2**26))
    chunk = struct.pack(">I", len(body)) + b"iTXt" + body
    chunk += struct.pack(">I", zlib.crc32(b"iTXt" + body))
    path.write_bytes(data[:at] + chunk + data[at + 12 + size :])
    with pytest.raises(RecordError, match=str(path)):
        read_records(path)


@pytest.mark.parametrize("line", ['{"command": ["x"], "file": "a"}', "[1]", "{", '{"file": "a"}'])
def test_lines_that_are_no_records(tmp_path, line):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"command": "x", "file": "a\u2028b"}\n' + line + "\n")
    with pytest.raises(RecordError, match=f"'{path}', line 2, is no record"):
        read_records(tmp_path)


def test_an_npz_that_unpacks_to_much_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, mu=np.zeros(2**24))
    with pytest.raises(ValueError, match=f"'{path}' .* would unpack to 134,"):
        read_npz(path, ("mu",))
