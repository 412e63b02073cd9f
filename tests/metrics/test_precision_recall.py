"""Precision and recall against a search through all pairs."""

from types import SimpleNamespace

import numpy as np
import pytest

from clipdiff_jax.metrics import precision_recall as module
from clipdiff_jax.metrics.precision_recall import precision, recall


def draw(count, seed, width=3, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(size=(count, width)) * scale + shift


def precision_recall(x, y, **options):
    return SimpleNamespace(precision=precision(x, y, **options), recall=recall(x, y, **options))


def share_within(x, manifold, neighbours):
    radii = [
        sorted(np.linalg.norm(centre - other) for other in np.delete(manifold, i, axis=0))
        for i, centre in enumerate(manifold)
    ]
    inside = [
        any(
            np.linalg.norm(one - centre) <= near[neighbours - 1]
            for centre, near in zip(manifold, radii, strict=True)
        )
        for one in x
    ]
    return np.mean(inside)


@pytest.mark.parametrize("neighbours", [1, 3])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        (draw(30, 0), draw(40, 1, shift=1.0)),
        (draw(20, 2, scale=0.2), draw(25, 3)),
        (draw(6, 4, width=10), draw(5, 5, width=10)),
    ],
)
def test_equal_to_brute_force(x, y, neighbours):
    found = precision_recall(x, y, neighbours=neighbours)
    assert found.precision.value == pytest.approx(share_within(x, y, neighbours))
    assert found.recall.value == pytest.approx(share_within(y, x, neighbours))


def test_extremes():
    x = draw(50, 6, width=40, shift=100.0)
    same, apart = precision_recall(x, x), precision_recall(x, x + 1000)
    assert same.precision.value == same.recall.value == 1
    assert apart.precision.value == apart.recall.value == 0
    one_picture = np.repeat(x[:1], 9, axis=0)
    collapsed = precision_recall(one_picture, x)
    assert (collapsed.precision.value, collapsed.recall.value) == (1, 1 / 50)


def test_more_than_a_block(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 7)
    x, y = draw(30, 7), draw(20, 8, shift=0.5)
    found = precision_recall(x, y)
    assert found.precision.value == pytest.approx(share_within(x, y, 3))
    assert found.recall.value == pytest.approx(share_within(y, x, 3))


def test_the_error_is_that_of_a_share():
    found = precision_recall(draw(400, 9, shift=1.5), draw(400, 10)).precision
    share = found.value
    assert 0.2 < share < 0.8
    assert found.uncertainty == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.1)


def test_few_pictures():
    with pytest.raises(ValueError, match=r"with 3 neighbours need 4 pictures or more .* 3 and 9"):
        precision_recall(draw(3, 11), draw(9, 12))
    with pytest.raises(ValueError, match="features of 3 and 2 numbers"):
        precision_recall(draw(9, 13), draw(9, 14, width=2))
