"""With a trained network: the mark is found after what happens to pictures, and no other is."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import stats

import clipdiff_jax as cd
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.pictures.watermark.detection import calibration, invert_all
from clipdiff_jax.pictures.watermark.inverters import inverter
from clipdiff_jax.pictures.watermark.key import PIXELS, Key

MARK = Key(secret=bytes(range(32)))
STEPS = 8


def jpeg(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer).convert("RGB"))


def half_size(image):
    small = Image.fromarray(image).resize((32, 32), Image.Resampling.LANCZOS)
    return np.asarray(small.resize((64, 64), Image.Resampling.LANCZOS))


@pytest.fixture(scope="module")
def base():
    return cd.load_diffusion("demo")


@pytest.fixture(scope="module")
def marked(base):
    return to_uint8(np.asarray(cd.watermark.generate(base, MARK, 8, key=0, steps=STEPS)))


def p_of(images, base, mark=MARK, **options):
    found = cd.watermark.detect(list(images), base, mark, steps=STEPS, batch=8, **options)
    return np.array([one.p for one in found])


@pytest.mark.slow
def test_marked_pictures_are_found(base, marked):
    assert p_of(marked, base).max() < 1e-20
    assert p_of(map(jpeg, marked), base).max() < 1e-4
    assert p_of(map(half_size, marked), base).max() < 1e-10
    large = [np.asarray(Image.fromarray(one).resize((150, 150))) for one in marked]
    assert p_of(large, base).max() < 1e-10


@pytest.mark.slow
def test_cut_and_mirrored_pictures_are_found_by_a_search(base, marked):
    cut = [one[2:58, 5:61] for one in marked]
    assert np.median(p_of(cut, base)) > 1e-4
    assert (p_of(cut, base, search=True) < 1e-4).sum() >= 7
    assert p_of(marked[:, :, ::-1], base, search=True).max() < 1e-4


@pytest.mark.slow
def test_other_keys_and_plain_pictures_are_not(base, marked):
    """Rates of keys drawn at random, also on pictures that have another key's mark."""
    plain = to_uint8(np.asarray(base.generate(8, key=1, steps=STEPS)))
    keys = [Key(secret=np.random.default_rng(i).bytes(32)) for i in range(100)]
    for images in (plain, marked):
        noise = invert_all(inverter(base, STEPS), list(images), 8)
        found = calibration(noise, keys, PIXELS)
        assert 0 <= found.rates[1] <= 0.03
        assert found.least > 1e-6
    p = [p_of(marked[:1], base, key)[0] for key in keys[:10]]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
