"""Crops of regions, and layout scores against cosines taken by hand."""

import numpy as np
import pytest

from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.metrics.layout import cut_out, layout_scores
from clipdiff_jax.models.clip import unit

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)


def test_crops_are_squares_of_the_pictures_own_pixels():
    image = np.arange(8 * 16 * 3, dtype=np.float32).reshape(8, 16, 3)
    np.testing.assert_array_equal(cut_out(image, LEFT), image[:, :8])
    np.testing.assert_array_equal(cut_out(image, RIGHT), image[:, 8:])
    # A wide box has pixels above and below; one in a corner is moved into the picture.
    np.testing.assert_array_equal(cut_out(image, (0.25, 0.5, 0.5, 0.75)), image[3:7, 4:8])
    np.testing.assert_array_equal(cut_out(image, (0.75, 0.75, 1.0, 1.0)), image[4:8, 12:16])
    assert cut_out(image, (0.0, 0.4, 1.0, 0.6)).shape == (8, 16, 3)


def test_scores_are_the_cosines_of_crops_and_prompts():
    clip = load_clip("demo")
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (32, 64, 3)).astype(np.float32)
    prompts = ["a face with red hair", "a face with blue hair"]
    found = layout_scores(clip, image, "two faces", prompts, [LEFT, RIGHT])
    seen = np.asarray(unit(clip.embed_images([image, image[:, :32], image[:, 32:]])))
    said = np.asarray(unit(clip.embed_texts(["two faces", *prompts])))
    cosines = seen @ said.T
    np.testing.assert_allclose(found.region, np.diag(cosines)[1:], atol=1e-5)
    np.testing.assert_allclose(found.leakage, [cosines[1, 2], cosines[2, 1]], atol=1e-5)
    np.testing.assert_array_equal(found.right, found.region >= found.leakage)
    assert found.whole == pytest.approx(cosines[0, 0], abs=1e-5)
    levels = np.tile(np.linspace(128, 255, 64)[None, :, None], (32, 1, 3)).astype(np.uint8)
    bright = layout_scores(clip, levels, "two faces", prompts, [LEFT, RIGHT])
    left = unit(clip.embed_images(levels[:, :32]))
    assert bright.region[0] == pytest.approx(float(left[0] @ said[1]), abs=1e-5)
    same = layout_scores(clip, image, "two faces", prompts[:1] * 2, [LEFT, RIGHT])
    assert same.right.all()
    assert np.isnan(same.leakage).all()
    with pytest.raises(ValueError, match="0 prompts and 0 boxes"):
        layout_scores(clip, image, "two faces", [], [])
