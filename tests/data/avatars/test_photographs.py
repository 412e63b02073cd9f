"""Photographs are told from avatars, and the demo says that it knows none."""

import warnings

import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data.avatars.photographs import (
    are_photographs,
    colours,
    look_like_photographs,
    warn_of_photographs,
)

STYLES = ("avataaars", "pixel-art", "lorelei", "big-ears")


def photograph(seed, size=96):
    """A lit face before a wall, in soft gradients with a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    wall = np.array([150, 140, 130]) + 90 * (x + y)[..., None] * rng.uniform(0.5, 1, 3)
    head = np.exp(-(((x / 0.25) ** 2 + (y / 0.33) ** 2) ** 2))[..., None]
    skin = np.array([205, 160, 140]) * (0.75 + 0.6 * x[..., None])
    mixed = wall * (1 - head) + skin * head + rng.normal(0, 4, (size, size, 3))
    return np.clip(mixed, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def avatars():
    demo = pytest.importorskip("clipdiff_jax.data.avatars.demo")
    return {style: demo.demo_faces(6, "test", style=style) for style in STYLES}


def test_drawings_have_few_colours(avatars):
    for style, faces in avatars.items():
        assert not are_photographs(faces), style
    assert colours(np.zeros((64, 64, 3), np.uint8)) == 1


def test_photographs_have_many(tmp_path):
    faces = [photograph(seed) for seed in range(5)]
    assert look_like_photographs(faces)
    assert min(colours(face) for face in faces) > 17
    plain = Image.fromarray(faces[0]).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    assert colours(np.asarray(plain.convert("RGB"))) < 17


def test_it_is_said_once():
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("default")
        for _ in range(3):
            warn_of_photographs()
    assert len(heard) == 1
    assert "look like photographs; the demo's models know cartoon faces" in str(heard[0].message)
