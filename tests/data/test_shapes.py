"""Coloured shapes: deterministic, apart from each other, drawn where their boxes say."""

import numpy as np
import pytest

from clipdiff_jax.data.named import data_of
from clipdiff_jax.data.shapes import COLORS, GAP, ShapesData, Thing, caption, open_shapes, render
from clipdiff_jax.data.sources import open_source


def test_a_picture_depends_on_seed_and_index_alone():
    long, short = open_shapes(ShapesData(count=40)), open_source(ShapesData(count=4))
    for i in range(4):
        np.testing.assert_array_equal(long[i]["image"], short[i]["image"])
        assert long[i]["captions"] == short[i]["captions"]
    assert long.fingerprint != short.fingerprint
    assert long[-1]["name"] == "shapes-000039"
    other = open_shapes(ShapesData(count=4, seed=1))
    assert other.scene(0) != short.scene(0)
    with pytest.raises(IndexError, match="no picture 40 of 40"):
        long[40]


def test_objects_keep_their_distance_and_captions_name_them():
    source = open_shapes(ShapesData(count=60, objects=(1, 2, 3)))
    for i in range(60):
        scene = source.scene(i)
        for thing in scene:
            assert min(thing.box) >= GAP - 1e-9
            assert max(thing.box) <= 1 - GAP + 1e-9
        for a in scene:
            for b in scene:
                apart = [a.box[k] >= b.box[k + 2] + GAP - 1e-9 for k in (0, 1)]
                apart += [b.box[k] >= a.box[k + 2] + GAP - 1e-9 for k in (0, 1)]
                assert a is b or any(apart)
    three = tuple(Thing(c, "circle", (0.0, 0.0, 0.3, 0.3)) for c in ("red", "blue", "cyan"))
    assert caption(three) == "a red circle, a blue circle and a cyan circle"
    assert caption(three[:1]) == "a red circle"


def test_shapes_are_drawn_in_their_boxes_and_fill_them_as_they_should():
    for shape, share in (("square", 1.0), ("circle", np.pi / 4), ("triangle", 0.5)):
        image = render((Thing("red", shape, (0.25, 0.25, 0.75, 0.75)),), 64).astype(float)
        amount = (image - 150) / (np.array(COLORS["red"]) - 150)  # of red in each pixel
        inside = amount[16:48, 16:48].mean()
        assert abs(inside - share) < 0.02
        assert abs(amount.sum() - amount[16:48, 16:48].sum()) < 1e-6 * amount.sum()


def test_bad_settings_and_names():
    with pytest.raises(ValueError, match="objects are numbers from 1 to 3"):
        ShapesData(objects=(4,))
    with pytest.raises(ValueError, match="count must be positive"):
        ShapesData(count=0)
    assert data_of("shapes", ShapesData(count=3)) == ShapesData(count=3)
    with pytest.raises(ValueError, match="no splits"):
        data_of("shapes:test")
