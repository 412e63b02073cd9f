import os
import pickle
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from helpers.paths import ROOT
from jaxtyping import TypeCheckError

from clipdiff_jax.data.avatars.faces import DETAILS, Face, labels, picture_key, render, split_of
from clipdiff_jax.data.avatars.rendering import render_folder
from clipdiff_jax.data.avatars.source import Avatars, AvatarsData, faces, open_avatars
from clipdiff_jax.data.sources import open_source

pytest.importorskip("dicebear")
SMALL = AvatarsData(size=16, count=5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path))
    return tmp_path


def test_examples_are_what_their_records_say(cache):
    source = open_avatars(SMALL)
    assert len(source) == 5
    for i, face in enumerate(source.faces):
        example = source[i]
        np.testing.assert_array_equal(example["image"], render(face, 16))
        assert example["attributes"] == labels(face)
        assert len(example["captions"]) == 5
        assert split_of(face) == "train"
    assert source[-1]["name"] == source[4]["name"] == "train-000004"
    with pytest.raises(IndexError):
        source[5]
    assert [p.name for p in cache.iterdir()] == [f"avatars-train-16px-{source.fingerprint}"]


def test_the_cache_is_used_and_depends_on_the_config(cache):
    first = open_avatars(SMALL)
    before = next(cache.rglob("images.npy")).stat().st_mtime_ns
    again = open_source(SMALL)
    assert next(cache.rglob("images.npy")).stat().st_mtime_ns == before
    assert again[3]["captions"] == first[3]["captions"]
    other = open_avatars(AvatarsData(size=16, count=5, seed=1))
    assert other.fingerprint != first.fingerprint == again.fingerprint


def test_parallel_rendering_gives_the_same_pictures(cache, tmp_path_factory, monkeypatch):
    config = AvatarsData(size=8, count=70)
    alone = open_avatars(config, workers=1)
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path_factory.mktemp("other")))
    np.testing.assert_array_equal(open_avatars(config, workers=2).images, alone.images)


@pytest.mark.slow
def test_a_script_without_a_main_guard_renders(tmp_path):
    """Its processes do not run it again."""
    script = tmp_path / "plain.py"
    script.write_text(
        "from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars\n"
        "print(open_avatars(AvatarsData(size=8, count=70), workers=2).images.mean())\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CLIPDIFF_JAX_CACHE": str(tmp_path)}
    command = [sys.executable, str(script)]
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.splitlines()) == 1


def test_a_process_that_fails_is_told_of(tmp_path):
    (tmp_path / "faces.jsonl").write_text("{}\n{}\n")
    np.save(tmp_path / "images.npy", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(RuntimeError, match=r"missing .* required positional arguments"):
        list(render_folder(tmp_path, 2))


def test_an_interrupted_rendering_leaves_nothing(cache, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("clipdiff_jax.data.avatars.source.render", stop)
    with pytest.raises(KeyboardInterrupt):
        open_avatars(SMALL)
    assert list(cache.iterdir()) == []


def test_a_longer_set_begins_with_the_shorter():
    assert faces(AvatarsData(count=30))[:10] == faces(AvatarsData(count=10))
    styles = {face.style for face in faces(AvatarsData(count=20, styles=("lorelei",)))}
    assert styles == {"lorelei"}


def test_variants_differ_in_their_details_only():
    drawn = faces(AvatarsData(count=24, variants=8))
    assert len({picture_key(face) for face in drawn}) == 24
    assert {split_of(face) for face in drawn} == {"train"}
    same = [field.name for field in fields(Face) if field.name not in DETAILS]
    groups = {tuple(getattr(face, name) for name in same) for face in drawn}
    assert 3 <= len(groups) <= 5  # a group is short where variants fall into other splits
    assert len({(face.mouth, face.eyes, face.glasses, face.beard) for face in drawn}) > 8
    assert faces(AvatarsData(count=5, variants=1)) == faces(AvatarsData(count=5))
    with pytest.raises(ValueError, match="variants must be positive, got 0"):
        AvatarsData(variants=0)


def test_a_worker_reopens_the_cache():
    source = open_avatars(SMALL)
    sent = pickle.dumps(source)
    assert len(sent) < 2000
    copy = pickle.loads(sent)
    assert isinstance(copy, Avatars)
    np.testing.assert_array_equal(copy[2]["image"], source[2]["image"])


@pytest.mark.parametrize(
    ("change", "message"),
    [({"split": "trian"}, "'trian'"), ({"styles": ("loreley",)}, "mean 'lorelei'"),
     ({"main_share": 0.0}, "main_share"), ({"count": 0}, "positive"), ({"styles": ()}, "at least")],
)  # fmt: skip
def test_wrong_configs_raise(change, message):
    with pytest.raises((ValueError, TypeCheckError), match=message):
        AvatarsData(**change)
