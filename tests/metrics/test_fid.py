"""The Fréchet distance against scipy's matrix root; its stream and its error."""

import numpy as np
import pytest
from scipy import linalg

from clipdiff_jax.metrics.fid import (
    Statistics,
    fid,
    frechet_distance,
    load_statistics,
    save_statistics,
    statistics,
)


def correlated(count, width, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(100 + seed).normal(size=(width, width))
    return rng.normal(size=(count, width)) @ mixing + shift


def blocks(x, *lengths):
    return np.split(x, np.cumsum(lengths))


SETS = {
    "full rank": (correlated(300, 12, 0), correlated(200, 12, 1, 0.5)),
    "positive, some features constant": (
        np.maximum(correlated(80, 16, 2), 0) * (np.arange(16) < 11),
        np.maximum(correlated(90, 16, 3), 0) * (np.arange(16) < 13),
    ),
    "fewer than dimensions": (correlated(6, 20, 4), correlated(9, 20, 5)),
}


@pytest.mark.filterwarnings("ignore:.*for 20 dimensions")
@pytest.mark.parametrize("name", SETS)
def test_equal_to_the_matrix_root(name):
    x, y = SETS[name]
    means, covariances = [x.mean(0), y.mean(0)], [np.cov(x.T), np.cov(y.T)]
    # The reference's way with singular products.
    offset = 1e-6 * np.eye(x.shape[1])
    root = linalg.sqrtm((covariances[0] + offset) @ (covariances[1] + offset)).real
    apart = means[0] - means[1]
    wanted = apart @ apart + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert fid([x], [y], rounds=0).value == pytest.approx(wanted, rel=1e-3)
    assert fid([y], [x], rounds=0).value == pytest.approx(wanted, rel=1e-3)


def test_closed_form_of_diagonal_covariances():
    """|m1 - m2|^2 + sum (s1 - s2)^2."""
    a = Statistics(np.array([1.0, 0, 2]), np.diag([4.0, 1, 0]))
    b = Statistics(np.array([0.0, 0, 4]), np.diag([1.0, 9, 16]))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + 1 + 4 + 16, abs=1e-12)
    assert frechet_distance(b, a) == pytest.approx(26, abs=1e-12)


@pytest.mark.filterwarnings("ignore:.*dimensions")
@pytest.mark.parametrize("count", [2, 15, 200])
def test_identical_sets_are_at_no_distance(count):
    x = correlated(count, 30, 6)
    assert fid([x], [x], rounds=0).value < 1e-9 * np.trace(np.cov(x.T))


def test_a_stream_equals_all_at_once():
    """Also where the mean is large against the spread."""
    x = correlated(100, 5, 7, shift=1e5)
    found = statistics(blocks(x, 1, 40, 3, 0, 30))
    assert found.count == 100
    np.testing.assert_allclose(found.mean, x.mean(0), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(x.T), rtol=1e-9, atol=1e-9)


def test_the_error_is_that_of_drawing_anew():
    def draw(seed):
        rng = np.random.default_rng(seed)
        return [rng.normal(size=(200, 3))], [rng.normal(size=(300, 3)) * 1.5 + 1]

    anew = np.std([fid(*draw(seed), rounds=0).value for seed in range(200)])
    said = np.mean([fid(*draw(seed), rounds=20).uncertainty for seed in range(10)])
    assert said == pytest.approx(anew, rel=0.25)


def test_statistics_as_a_reference_are_taken_as_they_are():
    x, y = SETS["full rank"]
    known = statistics([y])
    alone, both = fid([x], known), fid([x], [y])
    assert alone.value == both.value
    assert 0 < alone.uncertainty != both.uncertainty


@pytest.mark.filterwarnings("ignore:9 reference")
def test_few_pictures():
    x, y = SETS["fewer than dimensions"]
    with pytest.warns(UserWarning, match="6 pictures for 20 dimensions: .* rank 5 at most"):
        fid([x], statistics([correlated(40, 20, 8)]))
    with pytest.warns(UserWarning, match="3 pictures"):
        assert np.isnan(fid([x[:3]], [y]).uncertainty)
    with pytest.raises(ValueError, match="two pictures or more, got one: a single picture"):
        fid([x[:1]], [y])
    with pytest.raises(ValueError, match="two pictures or more, got none"):
        fid([x], [])
    with pytest.raises(ValueError, match="not finite"):
        statistics([np.array([[1.0], [np.nan]])])


def test_files(tmp_path):
    known = statistics([correlated(30, 4, 9)])
    save_statistics(tmp_path / "ours.npz", known)
    read = load_statistics(tmp_path / "ours.npz")
    np.testing.assert_array_equal(read.covariance, known.covariance)
    np.testing.assert_array_equal(read.mean, known.mean)
    assert read.count == 30
    np.savez(tmp_path / "theirs.npz", mu=known.mean, sigma=known.covariance)
    assert load_statistics(tmp_path / "theirs.npz").count is None
    np.savez(tmp_path / "wrong.npz", mu=known.mean, sigma=known.mean)
    with pytest.raises(ValueError, match=r"mu \(4,\) and sigma \(4,\), expected"):
        load_statistics(tmp_path / "wrong.npz")
    (tmp_path / "none.npz").write_bytes(b"words")
    with pytest.raises(ValueError, match=r"none.npz' holds no statistics"):
        load_statistics(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_statistics(tmp_path / "nowhere.npz")


def test_networks_are_not_mixed():
    a = Statistics(np.zeros(2), np.eye(2), 10, "inception-clean")
    b = Statistics(np.zeros(2), np.eye(2), 10, "inception-pytorch")
    with pytest.raises(ValueError, match="'inception-clean' and 'inception-pytorch'"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match="features of 2 and 3 numbers"):
        frechet_distance(a, Statistics(np.zeros(3), np.eye(3)))
