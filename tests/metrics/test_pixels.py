"""MAE, PSNR and SSIM against their formulas and against scikit-image."""

import numpy as np
import pytest

from clipdiff_jax.metrics.pixels import C1, C2, mae, psnr, ssim


def noisy(count, height, width, size, seed=0):
    """Smooth pictures and the same with noise of standard deviation `size`."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 7.0
    phase = rng.uniform(0, 6, (count, 1, 1, 3))
    clean = 0.8 * np.sin(x[None, ..., None] + phase) * np.cos(y[None, ..., None] - phase)
    spoilt = np.clip(clean + size * rng.normal(size=clean.shape), -1, 1)
    return clean.astype(np.float32), spoilt.astype(np.float32)


def constant(level, shape=(1, 16, 16, 3)):
    return np.full(shape, level, np.float32)


def test_values_of_constant_pictures():
    a, b = constant(0.5), constant(0.1)
    np.testing.assert_allclose(mae(a, b), [0.2], rtol=1e-5)
    np.testing.assert_allclose(psnr(a, b), [10 * np.log10(4 / 0.16)], rtol=1e-6)
    luminance = (2 * 0.05 + C1) / (0.26 + C1)  # structure and contrast are 1: nothing varies
    np.testing.assert_allclose(ssim(a, b), [luminance], atol=1e-5)


def test_equal_pictures():
    a, _ = noisy(2, 20, 16, 0.1)
    assert list(mae(a, a)) == [0, 0]
    assert list(psnr(a, a)) == [np.inf, np.inf]
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-6)
    np.testing.assert_allclose(ssim(constant(1.0), constant(1.0)), 1, atol=1e-6)


def test_opposite_structure_is_negative():
    """A checkerboard has no mean in any window, variance 1/4, and covariance -1/4 to its inverse"""
    board = 0.5 * (-1.0) ** np.add(*np.mgrid[:13, :15])
    x = np.broadcast_to(board[None, :, :, None], (1, 13, 15, 3)).astype(np.float32)
    np.testing.assert_allclose(ssim(x, -x), (-0.5 + C2) / (0.5 + C2), rtol=1e-4)


def test_large_pictures_lose_no_digits():
    """A sum over all pixels in one float32 would be off by more than a thousandth here."""
    x = constant(0.1, (1, 512, 512, 3))
    np.testing.assert_allclose(mae(x, 0 * x), 0.05, rtol=1e-5)
    np.testing.assert_allclose(psnr(x, 0 * x), 10 * np.log10(4 / 0.01), rtol=1e-5)


def test_psnr_of_a_region():
    a = constant(0.0, (3, 2, 2, 3))
    b = a.copy()
    b[:, 0, 0] = 0.2
    region = np.zeros((3, 2, 2), bool)
    region[0, 0, 0] = region[1, 1, 1] = True
    found = psnr(b, a, region)
    assert float(found[0]) == pytest.approx(20, abs=1e-4)
    assert found[1] == np.inf
    assert np.isnan(found[2])


@pytest.mark.parametrize("metric", [mae, psnr, ssim])
def test_what_cannot_be_compared_is_refused(metric):
    with pytest.raises(ValueError, match=r"\(1, 16, 16, 3\) against \(1, 12, 16, 3\)"):
        metric(constant(0.0), constant(0.0, (1, 12, 16, 3)))


def test_pictures_smaller_than_the_window_are_refused():
    small = constant(0.0, (2, 10, 30, 3))
    with pytest.raises(ValueError, match="windows of 11x11 pixels, the pictures have 10x30"):
        ssim(small, small)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("first", "second"),
    [
        noisy(2, 16, 24, 0.2),
        noisy(1, 11, 11, 0.5),  # a single window
        (noisy(2, 16, 24, 0.0)[0], constant(0.3, (2, 16, 24, 3))),
        (constant(-1.0), constant(1.0)),
        (constant(0.25), constant(0.25)),
    ],
    ids=["noise", "smallest", "against a constant", "black on white", "equal constants"],
)
def test_equal_to_scikit_image(first, second):
    metrics = pytest.importorskip("skimage.metrics")
    options = {
        "channel_axis": -1, "data_range": 2.0, "gaussian_weights": True, "sigma": 1.5,
        "use_sample_covariance": False,
    }  # fmt: skip
    pairs = [
        (a.astype(np.float64), b.astype(np.float64)) for a, b in zip(first, second, strict=True)
    ]
    wanted = [metrics.structural_similarity(a, b, **options) for a, b in pairs]
    np.testing.assert_allclose(ssim(first, second), wanted, rtol=1e-4, atol=1e-5)
    with np.errstate(divide="ignore"):
        wanted = [metrics.peak_signal_noise_ratio(a, b, data_range=2.0) for a, b in pairs]
    np.testing.assert_allclose(psnr(first, second), wanted, rtol=1e-4)
