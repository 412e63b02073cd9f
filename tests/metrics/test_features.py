"""Features are those of every picture, whatever the batches, and are computed once."""

import numpy as np
import pytest
from helpers.tiny_models import tiny_clip_config
from safetensors.numpy import save_file

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.metrics.features import (
    PART,
    FeatureNetwork,
    clip_network,
    compute_features,
    features_folder,
    part_path,
)
from clipdiff_jax.metrics.inception_features import (
    clean_resize,
    load_inception,
    pytorch_resize,
)
from clipdiff_jax.weights.errors import WeightsError


class Pictures:
    """Pictures of 2 x 2 pixels; remembers which were read, and fails at `broken`."""

    fingerprint = "pictures"

    def __init__(self, count, broken=None):
        self.images = np.random.default_rng(0).integers(256, size=(count, 2, 2, 3), dtype=np.uint8)
        self.broken, self.read = broken, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        if index == self.broken:
            raise OSError("no more")
        self.read.append(index)
        return {"image": self.images[index]}


def linear(scale=1.0):
    matrix = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32) * scale
    prepare = lambda image: image.astype(np.float32)
    embed = lambda params, images: images.reshape(len(images), -1) @ params
    return FeatureNetwork("linear-1", prepare, embed, matrix)


def wanted(source):
    return source.images.reshape(len(source), -1) @ linear().params


@pytest.mark.parametrize("batch_size", [3, 7, 50])
def test_of_every_picture_in_order(tmp_path, batch_size):
    source = Pictures(7)
    found = compute_features(source, linear(), tmp_path, batch_size=batch_size, progress=False)
    assert (found.count, found.network) == (7, "linear-1")
    np.testing.assert_allclose(found.array(), wanted(source), rtol=1e-5, atol=1e-3)
    assert sorted(source.read) == list(range(7))


def test_a_run_goes_on_where_it_was_broken_off(tmp_path):
    count = PART + 60
    broken = Pictures(count, broken=PART + 40)
    with pytest.raises(OSError, match="no more"):
        compute_features(broken, linear(), tmp_path, progress=False)
    source = Pictures(count)
    found = compute_features(source, linear(), tmp_path, batch_size=64, progress=False)
    assert sorted(source.read) == list(range(PART, count))
    np.testing.assert_allclose(found.array(), wanted(source), rtol=1e-5, atol=1e-3)
    assert [len(block) for block in found] == [PART, 60]
    part_path(tmp_path, 1).write_bytes(b"cut short")
    again = Pictures(count)
    compute_features(again, linear(), tmp_path, progress=False)
    assert sorted(again.read) == list(range(PART, count))


def test_what_is_computed_anew(tmp_path):
    network = linear()
    folder = features_folder(tmp_path, "data", network)
    assert folder == features_folder(tmp_path, "data", network)
    assert folder != features_folder(tmp_path, "data, changed", network)
    other = FeatureNetwork("linear-2", network.prepare, network.embed, network.params)
    assert folder != features_folder(tmp_path, "data", other)
    with pytest.raises(ValueError, match="expected pictures and a batch, got 0"):
        compute_features(Pictures(0), network, tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        compute_features(Pictures(2), linear(np.inf), tmp_path, progress=False)


def test_pictures_for_clip_are_middle_squares():
    config, tokenizer = tiny_clip_config()
    network = clip_network(Clip(config, {}, tokenizer))
    size = config.vision.image_size
    image = np.random.default_rng(2).integers(256, size=(size, size, 3), dtype=np.uint8)
    np.testing.assert_allclose(network.prepare(image), image / 127.5 - 1, atol=1e-6)
    wide = np.concatenate([image[:, ::-1], image, image[:, ::-1]], axis=1)
    np.testing.assert_array_equal(network.prepare(wide), network.prepare(image))


def cubic(x):
    """The convolution kernel of Keys (1981) with a = -1/2."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def cubic_matrix(length, size):
    """Anti-aliased: where it reduces, the kernel is as much wider."""
    scale = length / size
    centres = (np.arange(size) + 0.5) * scale
    weights = cubic((np.arange(length) + 0.5 - centres[:, None]) / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("height", "width"), [(9, 5), (12, 40), (16, 16)])
def test_the_clean_resize_is_cubic_and_keeps_fractions(height, width):
    image = np.random.default_rng(3).integers(256, size=(height, width, 3)).astype(np.uint8)
    rows, columns = cubic_matrix(height, 16), cubic_matrix(width, 16)
    levels = np.einsum("ih,jw,hwc->ijc", rows, columns, image).clip(0, 255)
    np.testing.assert_allclose(clean_resize(image, 16), (levels - 128) / 128, atol=1e-5)


def test_the_clean_resize_does_not_overshoot():
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    found = clean_resize(edge, 19)
    assert found.min() == -1
    assert found.max() == 127 / 128


def test_the_pytorch_resize_by_hand():
    image = np.zeros((2, 4, 3), np.uint8)
    image[1] = 255
    rows = np.array([0, 0.25, 0.75, 1]) * 2 - 1
    expected = np.broadcast_to(rows[:, None, None], (4, 4, 3))
    np.testing.assert_allclose(pytorch_resize(image, 4), expected, atol=1e-6)
    # Fewer pixels: between the nearest two of each, and not their mean over the window.
    stripes = np.zeros((1, 12, 3), np.uint8)
    stripes[:, 4:5] = 255
    np.testing.assert_allclose(pytorch_resize(stripes, 3)[0, :, 0], [-1, -1, -1], atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(("height", "width", "size"), [(9, 5, 16), (40, 33, 16), (64, 64, 299)])
def test_the_pytorch_resize_equals_torch(height, width, size):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(4).integers(256, size=(height, width, 3)).astype(np.uint8)
    levels = torch.tensor(image).permute(2, 0, 1)[None].float() / 255
    theirs = torch.nn.functional.interpolate(
        levels, size=(size, size), mode="bilinear", align_corners=False
    )
    expected = 2 * theirs[0].permute(1, 2, 0).numpy() - 1
    np.testing.assert_allclose(pytorch_resize(image, size), expected, atol=4e-6)


def test_what_is_not_fid_s_network(tmp_path):
    with pytest.raises(WeightsError, match=r"no file.*published at https://github.com"):
        load_inception(tmp_path / "pt_inception.pth")
    path = tmp_path / "torchvision.safetensors"
    save_file({"fc.bias": np.zeros(1000, np.float32)}, path)
    with pytest.raises(WeightsError, match=r"expected 1008 classes .* got 1000"):
        load_inception(path)
    with pytest.raises(ValueError, match="Did you mean 'clean'"):
        load_inception(path, resize="cleen")
