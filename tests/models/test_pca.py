"""Principal components against numpy's SVD; buckets against their bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models import pca, quantiser


@pytest.fixture(scope="module")
def z():
    rng = np.random.default_rng(0)
    return (
        rng.normal(size=(300, 12)) * 0.8 ** np.arange(12) @ rng.normal(size=(12, 12)) + 5
    ).astype(np.float32)


@pytest.fixture(scope="module")
def fitted(z):
    return pca.fit([z[:7], z[7:200], z[200:]])


def test_components_are_those_of_the_svd(z, fitted):
    centred = np.float64(z) - z.mean(axis=0, dtype=np.float64)
    _, s, rows = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(fitted.mean, z.mean(axis=0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(fitted.variances, s**2 / 300, rtol=1e-5)
    cosines = np.sum(fitted.directions * rows, axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-5)
    largest = np.abs(fitted.directions).argmax(axis=1)
    assert (fitted.directions[np.arange(12), largest] > 0).all()


def test_a_stream_equals_the_whole(z, fitted):
    for a, b in zip(fitted, pca.fit([z]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    moments = None
    for row in z:
        moments = pca.update(moments, row[None])
    np.testing.assert_allclose(moments.scatter / 300, np.cov(z.T, ddof=0), rtol=1e-5, atol=1e-5)


def test_coefficients_are_uncorrelated_and_round_trip(z, fitted):
    c = np.asarray(pca.project(fitted, z))
    np.testing.assert_allclose(np.cov(c.T, ddof=0), np.diag(fitted.variances), atol=1e-4)
    np.testing.assert_allclose(pca.restore(fitted, jnp.asarray(c)), z, atol=1e-4)
    np.testing.assert_allclose(pca.reconstruct(fitted, z, 12), z, atol=1e-4)
    np.testing.assert_allclose(
        pca.reconstruct(fitted, z, 4), pca.restore(fitted, jnp.asarray(c)[:, :4]), atol=1e-4
    )


def test_what_is_lost_is_the_sum_of_the_other_eigenvalues(z, fitted):
    error = jax.jit(lambda dims: jnp.square(pca.reconstruct(fitted, z, dims) - z).sum(1).mean())
    for dims in (0, 3, 9):
        expected = fitted.variances[dims:].sum()
        assert float(error(dims)) == pytest.approx(expected, rel=1e-3)
        assert pca.lost_share(fitted, dims) == pytest.approx(
            expected / fitted.variances.sum(), rel=1e-5
        )
    assert error._cache_size() == 1
    each = pca.reconstruct(fitted, z[:2], jnp.array([3, 9]))
    np.testing.assert_allclose(each[1], pca.reconstruct(fitted, z[1:2], 9)[0], atol=1e-5)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="at least 2 embeddings, got 1"):
        pca.fit([np.zeros((1, 3), np.float32)])
    with pytest.raises(ValueError, match="1 values of embeddings are not finite"):
        pca.fit([np.array([[0.0, np.nan]], np.float32)])


def test_codes_round_trip_within_half_a_bucket(z, fitted):
    low, high = quantiser.symmetric_range(fitted.variances, 3.0)
    np.testing.assert_allclose(high, 3 * np.sqrt(fitted.variances), rtol=1e-5)
    c = jnp.clip(pca.project(fitted, z), low, high)
    codes = quantiser.to_codes(c, low, high, 64)
    assert codes.min() >= 0
    assert codes.max() <= 63
    back = quantiser.from_codes(codes, low, high, 64)
    half = (high - low) / 128
    assert (np.abs(back - c) <= half * 1.001).all()
    np.testing.assert_array_equal(quantiser.to_codes(back, low, high, 64), codes)
    beyond = quantiser.to_codes(jnp.stack([low * 9, high * 9]), low, high, 64)
    np.testing.assert_array_equal(beyond, [[0] * 12, [63] * 12])


def test_dimensions_without_variance_have_a_range():
    low, high = quantiser.symmetric_range(np.array([4.0, 0.0], np.float32), 2.0)
    assert (high > low).all()
    codes = quantiser.to_codes(jnp.zeros((1, 2)), low, high, 8)
    np.testing.assert_allclose(quantiser.from_codes(codes, low, high, 8), 0, atol=0.51)
    with pytest.raises(ValueError, match=r"0\.0 standard deviations"):
        quantiser.symmetric_range(np.ones(2, np.float32), 0.0)


def test_the_upper_half_of_equal_mass_codes_is_the_upper_half_of_the_values():
    values = np.random.default_rng(1).exponential(size=1000).astype(np.float32)
    edges = quantiser.equal_mass_edges(values, 8)
    codes = np.asarray(quantiser.to_equal_mass_codes(jnp.asarray(values), edges))
    np.testing.assert_array_equal(np.bincount(codes), [125] * 8)
    np.testing.assert_array_equal(codes >= 4, values > np.median(values))
