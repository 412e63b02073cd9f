"""Objects found in pictures whose truth is known."""

import numpy as np

from clipdiff_jax.data.shapes import ShapesData, Thing, open_shapes, render
from clipdiff_jax.metrics.shapes import find_objects, judge_binding, judge_layout


def as_picture(scene, size=64):
    return render(scene, size).astype(np.float32) / 127.5 - 1


def test_every_object_of_the_data_is_found():
    source = open_shapes(ShapesData(count=60, objects=(1, 2, 3)))
    for i in range(60):
        scene = source.scene(i)
        image = as_picture(scene)
        found = sorted((one.color, one.shape) for one in find_objects(image))
        assert found == sorted((one.color, one.shape) for one in scene)
        assert judge_binding(image, scene) == (True, False, False)
        placed = judge_layout(image, scene)
        assert placed.present.all()
        assert placed.colored.all()
        assert placed.shaped.all()
        assert placed.spill < 0.01
        noisy = image + np.random.default_rng(i).normal(0, 0.05, image.shape).astype(np.float32)
        assert judge_binding(noisy, scene).right


def test_swapped_missing_and_misplaced_objects_are_told_apart():
    left, right = (0.05, 0.3, 0.4, 0.65), (0.6, 0.3, 0.95, 0.65)
    wanted = (Thing("red", "circle", left), Thing("blue", "square", right))
    swapped = (Thing("blue", "circle", left), Thing("red", "square", right))
    assert judge_binding(as_picture(swapped), wanted) == (False, True, False)
    assert judge_binding(as_picture(wanted[:1]), wanted) == (False, False, True)
    other = (Thing("red", "circle", left), Thing("green", "square", right))
    assert judge_binding(as_picture(other), wanted) == (False, False, False)
    placed = judge_layout(as_picture(swapped), wanted)
    assert placed.present.all()
    assert placed.shaped.all()
    assert not placed.colored.any()
    away = (Thing("red", "circle", right), Thing("blue", "square", left))
    assert not judge_layout(as_picture(away), wanted).colored.any()
    assert judge_binding(as_picture(away), wanted).right
    empty = np.zeros((64, 64, 3), np.float32)
    assert find_objects(empty) == []
    assert judge_binding(empty, wanted).missing
    nothing = judge_layout(empty, wanted)
    assert not nothing.present.any()
    assert nothing.spill == 0
