import numpy as np
import pytest
from PIL import Image

from clipdiff_jax.data import degrade as module
from clipdiff_jax.data.degrade import (
    BSR,
    Blur,
    add_noise,
    compress,
    convolve,
    degrade,
    gaussian_kernel,
)
from clipdiff_jax.data.loader import batches


def smooth(size=64, seed=0):
    """A colourful picture without fine detail."""
    coarse = np.random.default_rng(seed).integers(40, 216, (6, 6, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def covariance(kernel):
    offset = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    x, y = np.meshgrid(offset, offset)
    mean = np.array([(kernel * x).sum(), (kernel * y).sum()])
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    return np.array([[(kernel * a * b).sum() for b in (x, y)] for a in (x, y)])


def test_a_kernel_sums_to_one_and_has_the_stated_variance():
    kernel = gaussian_kernel(31, 2.5)
    assert kernel.sum() == pytest.approx(1)
    np.testing.assert_allclose(covariance(kernel), 2.5**2 * np.eye(2), atol=1e-4)
    turned, angle = gaussian_kernel(61, 4.0, 1.5, 0.7), 0.7
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    expected = rotation @ np.diag([16, 2.25]) @ rotation.T
    np.testing.assert_allclose(covariance(turned), expected, atol=1e-3)
    side = np.exp(-0.5 / 0.6**2)
    small = covariance(gaussian_kernel(3, 0.6))
    np.testing.assert_allclose(small, 2 * side / (1 + 2 * side) * np.eye(2), atol=1e-12)
    np.testing.assert_array_equal(gaussian_kernel(3, 0.0), [[0, 0, 0], [0, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("sides", [(3, 3), (5, 7), (4, 6)])
def test_convolution_is_the_sum_over_the_kernel(sides):
    rng = np.random.default_rng(0)
    image, kernel = rng.random((9, 9, 3), np.float32), rng.random(sides)
    rows, columns = sides
    pad = [((s - 1) // 2, s // 2) for s in sides]
    padded = np.pad(image, [*pad, (0, 0)], mode="reflect")
    expected = sum(
        kernel[rows - 1 - i, columns - 1 - j] * padded[i : i + 9, j : j + 9]
        for i in range(rows)
        for j in range(columns)
    )
    np.testing.assert_allclose(convolve(image, kernel), expected, atol=1e-5)


def test_a_blur_is_resizing_then_convolution_for_its_share_of_the_images():
    image = smooth()
    area = image.reshape(16, 4, 16, 4, 3).mean((1, 3))
    rng = np.random.default_rng(0)
    plain = degrade(image, 16, Blur(probability=0.0), rng)
    assert np.abs(plain - area).max() <= 1  # Pillow rounds rows, then columns
    blurred = convolve(np.float32(plain / 255), gaussian_kernel(3, 0.6)) * 255
    always = degrade(image, 16, Blur(), rng)
    assert np.abs(always - blurred).max() <= 0.51
    draws = [degrade(image, 16, Blur(probability=0.3), rng) for _ in range(400)]
    share = np.mean([np.array_equal(one, always) for one in draws])
    assert all(np.array_equal(one, always) or np.array_equal(one, plain) for one in draws)
    assert share == pytest.approx(0.3, abs=4 * np.sqrt(0.21 / 400))


def test_resampling_is_the_named_filter():
    image = smooth()
    resize = lambda filter_: np.asarray(Image.fromarray(image).resize((16, 16), filter_))
    made = degrade(image, 16, Blur(probability=0.0), np.random.default_rng(0), "bicubic")
    np.testing.assert_array_equal(made, resize(Image.Resampling.BICUBIC))


def test_noise_has_the_stated_level_and_kinds():
    grey = np.full((32, 32, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    draws = [255 * (add_noise(grey, (5, 5), rng) - grey) for _ in range(500)]
    is_grey = np.array([np.ptp(noise, axis=2).max() < 1e-3 for noise in draws])
    assert is_grey.mean() == pytest.approx(0.4, abs=4 * np.sqrt(0.24 / 500))
    correlation = [np.abs(np.corrcoef(noise.reshape(-1, 3).T) - np.eye(3)).max() for noise in draws]
    own = np.array(correlation) < 4 / np.sqrt(32**2)
    assert own.mean() == pytest.approx(0.4, abs=0.1)
    stds = np.array([noise.std() for noise in draws])
    np.testing.assert_allclose(stds[is_grey], 5, rtol=4 * np.sqrt(0.5 / 32**2))
    mixed = [noise for noise, a, b in zip(draws, is_grey, own, strict=True) if not (a or b)]
    # Uniform eigenvalues up to the level's square: half of it on average.
    assert np.mean([noise.var() for noise in mixed]) == pytest.approx(12.5, rel=0.15)
    spread = [255 * (add_noise(grey, (2, 25), rng) - grey) for _ in range(500)]
    levels = [noise.std() for noise in spread if np.ptp(noise, axis=2).max() < 1e-3]
    assert 1.8 < min(levels) < 3.5
    assert 23 < max(levels) < 27
    assert np.mean(levels) == pytest.approx(13.5, abs=4 * 6.9 / np.sqrt(len(levels)))


@pytest.mark.parametrize("strength", ["full", "light"])
@pytest.mark.parametrize(("size", "small"), [(64, 16), (48, 24), (60, 20)])
def test_the_chain_ends_at_the_asked_size_near_the_picture(strength, size, small):
    image = smooth(size)
    clean = np.asarray(Image.fromarray(image).resize((small, small), Image.Resampling.BOX))
    rng = np.random.default_rng(0)
    made = np.stack([degrade(image, small, BSR(strength), rng) for _ in range(60)])
    assert made.shape == (60, small, small, 3)
    assert made.dtype == np.uint8
    assert np.abs(made.mean((0, 1, 2)) - clean.mean((0, 1))).max() < 2.5
    assert len(np.unique(made.reshape(60, -1), axis=0)) == 60


def test_full_is_the_stronger_of_the_two():
    image = smooth()
    clean = np.float32(Image.fromarray(image).resize((16, 16), Image.Resampling.BOX))

    def error(strength):
        rng = np.random.default_rng(1)
        made = [degrade(image, 16, BSR(strength), rng) - clean for _ in range(100)]
        return np.sqrt(np.mean(np.square(made)))

    assert 2 < error("light") < 0.7 * error("full")
    assert error("full") < 40


@pytest.mark.parametrize("strength", ["full", "light"])
def test_the_chain_does_not_move_the_picture(strength):
    y, x = np.mgrid[:64, :64] - 31.5
    bump = 60 + 160 * np.exp(-0.5 * (x**2 + y**2) / 8**2)
    image = np.repeat(bump[..., None], 3, axis=2).astype(np.uint8)
    rng = np.random.default_rng(0)
    made = np.mean([degrade(image, 16, BSR(strength), rng) for _ in range(100)], axis=(0, 3))
    weight = np.maximum(made - 70, 0)
    centre = [(np.arange(16) * weight.sum(axis)).sum() / weight.sum() for axis in (0, 1)]
    np.testing.assert_allclose(centre, 7.5, atol=0.05)


def test_jpeg_loses_more_at_lower_quality_and_ends_every_chain(monkeypatch):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    errors = [np.abs(compress(image, q).astype(int) - image).mean() for q in (30, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    qualities = {"full": [], "light": []}
    for strength, seen in qualities.items():
        monkeypatch.setattr(
            module, "compress", lambda image, quality, seen=seen: seen.append(quality) or image
        )
        rng = np.random.default_rng(0)
        for _ in range(200):
            degrade(image, 8, BSR(strength), rng)
        assert len(seen) == pytest.approx(200 * 1.9, abs=4 * np.sqrt(200 * 0.09))
    assert min(qualities["full"]) >= 30
    assert np.mean(qualities["full"]) == pytest.approx(62.5, abs=4)
    assert min(qualities["light"]) >= 80
    assert max(qualities["light"]) <= 95


class Pictures:
    fingerprint = "pictures"

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {"image": smooth(32, index)}


@pytest.mark.parametrize("how", [Blur(probability=0.5), BSR("full"), BSR("light")])
def test_a_batch_is_a_function_of_seed_and_step(how):
    transform = lambda example, rng: {"low": degrade(example["image"], 8, how, rng)}

    def batch(seed, start, step):
        reader = batches(Pictures(), batch_size=3, seed=seed, start_step=start, transform=transform)
        return [next(reader)["low"] for _ in range(step - start + 1)][-1]

    np.testing.assert_array_equal(batch(0, 0, 4), batch(0, 4, 4))
    assert not np.array_equal(batch(0, 0, 4), batch(1, 0, 4))


def test_what_cannot_be_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="40 x 40 pixels of 32 x 32"):
        degrade(smooth(32), 40, Blur(), rng)
    with pytest.raises(ValueError, match="8 x 8 pixels of 32 x 16"):
        degrade(smooth(32)[:, :16], 8, Blur(), rng)
    for change, message in (
        ({"kernel": 4}, "odd width, got 4"),
        ({"sigma": 0.0}, "positive, got 0"),
        ({"probability": 1.5}, r"\[0, 1\]: 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            Blur(**change)
