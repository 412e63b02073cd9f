"""S_dir against its formula in NumPy."""

import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip

from clipdiff_jax.metrics.direction import directional_similarity
from clipdiff_jax.perceptual.directional import text_direction
from clipdiff_jax.perceptual.templates import PLAIN


def unit64(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


def test_directional_similarity_is_the_cosine_of_the_changes(clip):
    originals, images = pictures(3), pictures(3, seed=1)
    direction = text_direction(clip.embed_texts, "a face", "a smiling face", PLAIN)
    words = unit64(clip.embed_texts(["a face", "a smiling face"]))
    moved = unit64(clip.embed_images(images)) - unit64(clip.embed_images(originals))
    wanted = unit64(moved) @ unit64(words[1] - words[0])
    found = directional_similarity(clip, direction, images, originals)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(directional_similarity(clip, direction, images, images), 0)
