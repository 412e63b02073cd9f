"""Demo faces are the data's own, show what is asked for, and nothing else is rendered."""

import numpy as np
import pytest

from clipdiff_jax.data.avatars import demo
from clipdiff_jax.data.avatars.demo import demo_faces
from clipdiff_jax.data.avatars.faces import labels, render, split_of
from clipdiff_jax.data.avatars.source import AvatarsData, faces
from clipdiff_jax.data.transforms import to_float


def rendered(monkeypatch, *args, **options):
    """The pictures, and the records that were rendered."""
    records = []

    def watched(face, size):
        records.append(face)
        return render(face, size)

    monkeypatch.setattr(demo, "render", watched)
    return demo_faces(*args, **options), records


def test_they_are_the_first_of_the_data_that_fit(monkeypatch):
    images, records = rendered(monkeypatch, 3, size=32, hair_color="black", mouth="sad|serious")
    assert images.shape == (3, 32, 32, 3)
    assert images.dtype == np.float32
    assert len(records) == 3
    config = AvatarsData(split="test", count=120, styles=("avataaars",))
    fits = lambda shown: shown.get("hair_color") == "black" and shown["mouth"] in ("sad", "serious")
    assert records == [face for face in faces(config) if fits(labels(face))][:3]
    np.testing.assert_array_equal(images[1], to_float(render(records[1], 32)))


def test_split_and_style_are_those_asked_for(monkeypatch):
    _, records = rendered(monkeypatch, 2, "train", 16, style="lorelei")
    assert [(split_of(face), face.style) for face in records] == [("train", "lorelei")] * 2


def test_what_does_not_exist_is_named_with_the_nearest(monkeypatch):
    with pytest.raises(ValueError, match=r"no attribute 'hair_colour'. Did you mean 'hair_color'"):
        demo_faces(1, hair_colour="black")
    with pytest.raises(ValueError, match=r"no hair_color 'blak'. Did you mean 'black'"):
        demo_faces(1, hair_color="blak")
    with pytest.raises(ValueError, match="count=0"):
        demo_faces(0)
    monkeypatch.setattr(demo, "DRAWS", 20)
    with pytest.raises(ValueError, match="of 20 faces in 'test' show hair_color=green"):
        demo_faces(5, hair_color="green")
