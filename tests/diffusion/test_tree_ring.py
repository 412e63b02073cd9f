"""The pattern is one that a real plane holds, noise stays noise, and the p-value is exact."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from clipdiff_jax.diffusion.tree_ring import (
    Band,
    along,
    check_band,
    correlations,
    direction_of,
    disc,
    embed,
    half_disc,
    key_pattern,
    marked,
    p_values,
    shifts_within,
)

SECRET = bytes(range(32))
SIDE, BAND = 64, Band(10)
SHAPES = [
    (64, 64, Band(10, 5)),
    (32, 32, Band(5)),
    (48, 33, Band(6, 1)),
    (15, 15, Band(3)),
]  # odd sides too


def secret(seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(32)


def planes(count: int, height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, height, width)).astype(np.float32)


@pytest.mark.parametrize("pattern", ["rand", "ring"])
@pytest.mark.parametrize(("height", "width", "band"), SHAPES)
def test_the_pattern_is_hermitian(pattern, height, width, band):
    """w(-k) = conj(w(k)), so that the plane is real: nothing of the pattern is lost."""
    w = key_pattern(SECRET, pattern, height, width, band)
    opposite = np.roll(w[::-1, ::-1], (1, 1), axis=(0, 1))
    scale = np.sqrt(height * width)
    np.testing.assert_allclose(opposite, np.conj(w), atol=1e-12 * scale)
    mask = disc(height, width, band)
    whole = np.where(mask, w, np.fft.fft2(planes(1, height, width)[0]))
    assert np.abs(np.fft.ifft2(whole).imag).max() < 1e-12
    assert not w[~mask].any()
    assert w[0, 0] == 0  # the mean colour is left alone


@pytest.mark.parametrize(("height", "width", "band"), SHAPES)
def test_half_of_the_disc_has_one_of_each_pair(height, width, band):
    mask, half = disc(height, width, band), half_disc(height, width, band)
    opposite = np.roll(half[::-1, ::-1], (1, 1), axis=(0, 1))
    assert not (half & opposite).any()
    np.testing.assert_array_equal(half | opposite, mask)
    assert half_disc(64, 64, BAND).sum() == 158


def test_the_disc_is_centred_on_the_mean():
    """As many rows below zero as above: the released one is a row off."""
    ys, xs = np.nonzero(np.fft.fftshift(disc(SIDE, SIDE, BAND)))
    assert ys.mean() == xs.mean() == SIDE / 2


@pytest.mark.parametrize("pattern", ["rand", "ring"])
def test_embedding_changes_the_disc_and_nothing_else(pattern):
    x = planes(3)
    w, mask = key_pattern(SECRET, pattern, SIDE, SIDE, BAND), disc(SIDE, SIDE, BAND)
    after, before = np.fft.fft2(embed(x, w, mask)), np.fft.fft2(x)
    np.testing.assert_allclose(after[:, mask], np.broadcast_to(w[mask], (3, mask.sum())), atol=2e-3)
    np.testing.assert_allclose(after[:, ~mask], before[:, ~mask], atol=2e-3)
    c = correlations(embed(x, w, mask), w, half_disc(SIDE, SIDE, BAND))
    np.testing.assert_allclose(c, 1, atol=1e-6)
    assert p_values(c, half_disc(SIDE, SIDE, BAND)).max() < 1e-300


def test_marked_noise_is_gaussian_noise():
    """By the pattern "rand" of keys that are drawn: each value, the moments, and the spectrum."""
    keys = 256
    noise = np.random.default_rng(1).normal(size=(1, 32, 32, 3)).astype(np.float32)
    last = direction_of(-1, 3)
    made = [marked(noise, secret(i), "rand", Band(5), last) for i in range(keys)]
    np.testing.assert_array_equal(made[0][..., :2], noise[..., :2])  # other channels
    disturbed = np.concatenate(made)[..., 2] - _without_disc(noise[0, ..., 2], 5)
    spectrum = np.fft.fft2(disturbed)[:, half_disc(32, 32, Band(5))]
    scaled = np.concatenate([spectrum.real, spectrum.imag]).ravel() / np.sqrt(32 * 32 / 2)
    assert stats.kstest(scaled, "norm").pvalue > 0.01
    assert abs(scaled.var() - 1) < 0.03
    assert abs(np.corrcoef(spectrum.real.T)[0, 1:]).max() < 4 / np.sqrt(keys)


def _without_disc(plane: np.ndarray, radius: int) -> np.ndarray:
    spectrum = np.fft.fft2(plane)
    spectrum[disc(*plane.shape, Band(radius))] = 0
    return np.fft.ifft2(spectrum).real


@pytest.mark.parametrize("pattern", ["rand", "ring"])
def test_the_energy_is_that_of_noise(pattern):
    mask = disc(SIDE, SIDE, BAND)
    energy = [
        (np.abs(key_pattern(secret(i), pattern, SIDE, SIDE, BAND)[mask]) ** 2).mean()
        for i in range(200)
    ]
    assert np.mean(energy) == pytest.approx(SIDE * SIDE, rel=0.12)


def test_p_is_uniform_over_noise():
    half = half_disc(SIDE, SIDE, BAND)
    w = key_pattern(SECRET, "rand", SIDE, SIDE, BAND)
    p = p_values(correlations(planes(2000), w, half)[:, 0], half)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_p_is_uniform_over_keys_whatever_the_picture():
    """A plane that is no noise at all: a slope, with all its energy in a few frequencies."""
    half = half_disc(32, 32, Band(5))
    plane = np.linspace(-3, 3, 32)[None, :, None] * np.ones((1, 1, 32))
    p = [
        float(
            p_values(
                correlations(plane, key_pattern(secret(i), "rand", 32, 32, Band(5)), half), half
            )[0, 0]
        )
        for i in range(1500)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_keys_are_independent():
    """Another secret correlates by chance alone, as n numbers do; the same is the same."""
    half = half_disc(SIDE, SIDE, BAND)
    first = key_pattern(SECRET, "rand", SIDE, SIDE, BAND)
    np.testing.assert_array_equal(first, key_pattern(SECRET, "rand", SIDE, SIDE, BAND))
    others = [
        np.fft.ifft2(key_pattern(secret(i), "rand", SIDE, SIDE, BAND)).real for i in range(200)
    ]
    c = correlations(np.stack(others), first, half)[:, 0]
    assert c.std() == pytest.approx(1 / np.sqrt(2 * half.sum()), rel=0.2)
    one_bit = bytes([SECRET[0] ^ 1, *SECRET[1:]])
    near = np.fft.ifft2(key_pattern(one_bit, "rand", SIDE, SIDE, BAND)).real
    assert abs(correlations(near[None], first, half)[0, 0]) < 0.25


def test_the_pattern_of_a_secret_never_changes():
    """Keys are kept for years: these numbers are part of the format."""
    rand = key_pattern(SECRET, "rand", 16, 16, Band(2))
    ring = key_pattern(SECRET, "ring", 16, 16, Band(2))
    found = np.round([rand[0, 1].real, rand[0, 1].imag, rand[1, 1].real, ring[0, 1].real], 4)
    np.testing.assert_allclose(found, STORED, atol=1e-3)


STORED = [26.7214, 8.3486, 3.526, -4.5137]


def test_a_moved_plane_is_found_where_it_is():
    half = half_disc(SIDE, SIDE, BAND)
    w = key_pattern(SECRET, "rand", SIDE, SIDE, BAND)
    x = embed(planes(1), w, disc(SIDE, SIDE, BAND))
    moved = np.roll(x, (-2, 3), axis=(1, 2))
    shifts = shifts_within((3, 4))
    assert len(shifts) == 7 * 9
    c = correlations(moved, w, half, shifts)[0]
    assert tuple(shifts[c.argmax()]) == (2, -3)
    assert c.max() == pytest.approx(1, abs=1e-6)


def test_a_ring_is_found_in_a_mirror():
    half = half_disc(SIDE, SIDE, BAND)
    w = key_pattern(SECRET, "ring", SIDE, SIDE, BAND)
    x = embed(planes(4), w, disc(SIDE, SIDE, BAND))
    assert correlations(x[:, :, ::-1], w, half).min() > 0.8
    assert correlations(x.transpose(0, 2, 1), w, half).min() > 0.999


@pytest.mark.parametrize(
    ("band", "says"),
    [
        (Band(0), "radius=0, expected 1 to 16"),
        (Band(17), "radius=17, expected 1 to 16"),
        (Band(5, 5), "inner=5, expected 0 to 4"),
        (Band(5, -1), "inner=-1, expected 0 to 4"),
    ],
)
def test_a_band_that_cannot_be(band, says):
    with pytest.raises(ValueError, match=says):
        check_band(band, 64, 64)


def test_an_inner_disc_is_left_alone():
    mask, inner = disc(SIDE, SIDE, Band(10, 5)), disc(SIDE, SIDE, Band(5))
    np.testing.assert_array_equal(mask | inner, disc(SIDE, SIDE, Band(10)))
    assert not (mask & inner).any()
    x = planes(2)
    w = key_pattern(SECRET, "rand", SIDE, SIDE, Band(10, 5))
    after = np.fft.fft2(embed(x, w, mask))
    np.testing.assert_allclose(after[:, inner], np.fft.fft2(x)[:, inner], atol=2e-3)


def test_p_is_the_upper_tail_of_students_distribution():
    half = half_disc(SIDE, SIDE, BAND)
    freedom = 2 * int(half.sum()) - 1
    c = np.linspace(-1, 1, 101)
    t = c[1:-1] * np.sqrt(freedom / (1 - c[1:-1] ** 2))
    np.testing.assert_allclose(p_values(c, half)[1:-1], stats.t.sf(t, freedom), rtol=1e-12)
    assert p_values(c, half)[[0, -1]].tolist() == [1.0, 0.0]


def test_what_commands_import_of_it_is_light():
    """scipy.stats takes half a second, of every command that may draw with a key."""
    code = "import sys, clipdiff_jax.diffusion.tree_ring; print('scipy.stats' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.parametrize("channel", [None, 0, -1])
@pytest.mark.parametrize("pattern", ["rand", "ring"])
def test_a_mark_is_in_one_direction_and_has_the_power_of_noise(channel, pattern):
    """In the mean of the channels, or in one; what is at right angles to it stays to rounding."""
    noise = np.random.default_rng(2).normal(size=(2, SIDE, SIDE, 3)).astype(np.float32)
    direction, band = direction_of(channel, 3), Band(13, 5)
    made = marked(noise, SECRET, pattern, band, direction)
    assert np.linalg.norm(direction) == pytest.approx(1)
    across = np.eye(3) - np.outer(direction, direction)
    np.testing.assert_allclose(made @ across, noise @ across, atol=1e-5)
    half = half_disc(SIDE, SIDE, band)
    w = key_pattern(SECRET, pattern, SIDE, SIDE, band)
    np.testing.assert_allclose(correlations(along(made, direction), w, half), 1, atol=1e-5)
    power = np.abs(np.fft.fft2(along(made, direction))[:, half]) ** 2
    assert power.mean() / SIDE**2 == pytest.approx(1, abs=1e-4 if pattern == "ring" else 0.2)
