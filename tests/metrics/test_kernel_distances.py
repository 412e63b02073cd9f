"""KID and CMMD against sums over pairs, one by one."""

import itertools

import numpy as np
import pytest

from clipdiff_jax.metrics import cmmd as module
from clipdiff_jax.metrics.cmmd import cmmd
from clipdiff_jax.metrics.kid import kid, squared_mmd


def draw(count, width, seed, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, width)) + shift


def naive_kid(x, y):
    kernel = lambda a, b: (a @ b / len(a) + 1) ** 3
    count = len(x)
    pairs = itertools.permutations(range(count), 2)
    within = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs)
    across = sum(kernel(a, b) for a in x for b in y)
    return within / (count * (count - 1)) - 2 * across / count**2


def naive_cmmd(x, y):
    x, y = ([v / np.linalg.norm(v) for v in one] for one in (x, y))
    kernel = lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * 10**2))
    mean = lambda one, two: np.mean([kernel(a, b) for a in one for b in two])
    return 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))


SETS = [
    (draw(7, 4, 0), draw(7, 4, 1, 0.5)),
    (draw(2, 9, 2), draw(2, 9, 3)),
    (np.repeat(draw(1, 3, 4), 6, axis=0), draw(6, 3, 5)),
]


@pytest.mark.parametrize(("x", "y"), SETS)
def test_kid_equals_its_definition(x, y):
    wanted = naive_kid(x, y)
    assert kid(x, y).value == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert kid(x.astype(np.float32), y).value == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_kid_of_subsets_is_that_of_all_on_average():
    x, y = draw(300, 5, 6, 0.3), draw(400, 5, 7)
    all_of_them = squared_mmd(x, y[:300])
    assert kid(x, y[:300], subsets=200, subset_size=50).value == pytest.approx(all_of_them, rel=0.1)
    assert kid(x, y, seed=1) == kid(x, y, seed=1)


@pytest.mark.parametrize("size", [30, 1000])
def test_kid_s_error_is_that_of_drawing_anew(size):
    pair = lambda seed: (draw(100, 4, 2 * seed, 0.8), draw(100, 4, 2 * seed + 1))
    anew = np.std([squared_mmd(*pair(seed)) for seed in range(150)])
    found = [kid(*pair(seed), subset_size=size, subsets=40).uncertainty for seed in range(6)]
    assert np.mean(found) == pytest.approx(anew, rel=0.25)


@pytest.mark.parametrize(("x", "y"), [*SETS, (draw(5, 3, 8), draw(9, 3, 9))])
def test_cmmd_equals_its_definition(x, y):
    assert cmmd(x, y).value == pytest.approx(naive_cmmd(x, y), rel=1e-8, abs=1e-9)


def test_cmmd_in_blocks(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 4)
    x, y = draw(11, 2, 10), draw(5, 2, 11)
    assert cmmd(x, y, rounds=0).value == pytest.approx(naive_cmmd(x, y), rel=1e-8)


def test_cmmd_s_error_is_that_of_drawing_anew():
    pair = lambda seed: (draw(100, 4, 2 * seed, 0.8), draw(120, 4, 2 * seed + 1))
    anew = np.std([cmmd(*pair(seed), rounds=0).value for seed in range(200)])
    found = [cmmd(*pair(seed), rounds=20).uncertainty for seed in range(6)]
    assert np.mean(found) == pytest.approx(anew, rel=0.25)


def test_identical_and_few():
    x = draw(20, 6, 12)
    assert cmmd(x, x).value == pytest.approx(0, abs=1e-10)
    assert kid(x, x).value < 0  # unbiased: pictures are not compared with themselves, but here are
    assert np.isnan(kid(x[:3], x).uncertainty)
    assert np.isnan(cmmd(x[:1], x).uncertainty)
    with pytest.raises(ValueError, match="KID needs two pictures or more of each kind, got 1 and"):
        kid(x[:1], x)
    with pytest.raises(ValueError, match="CMMD needs pictures, got 0 and 20"):
        cmmd(x[:0], x)
    for metric in (kid, cmmd):
        with pytest.raises(ValueError, match="of 6 and 5 numbers"):
            metric(x, x[:, :5])
