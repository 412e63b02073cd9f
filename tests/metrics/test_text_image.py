"""Scores of pictures and texts against their formulas in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip

from clipdiff_jax.metrics.text_image import (
    HESSEL_WEIGHT,
    PERCENT,
    clip_score,
    directional_similarity,
    identity_similarity,
    retrieval_ranks,
)
from clipdiff_jax.models.clip import unit
from clipdiff_jax.perceptual.directional import text_direction
from clipdiff_jax.perceptual.templates import PLAIN


def normal(count, width, seed):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def unit64(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


@pytest.mark.parametrize(("count", "width"), [(50, 8), (1, 512), (3, 2)])
def test_clip_score_is_the_formula(count, width):
    images, texts = normal(count, width, 0), normal(count, width, 1)
    cosine = np.maximum((unit64(images) * unit64(texts)).sum(1), 0)
    found = clip_score(unit(jnp.asarray(images)), unit(jnp.asarray(texts)))
    np.testing.assert_allclose(found, 2.5 * cosine, rtol=1e-4, atol=1e-6)
    assert HESSEL_WEIGHT == 2.5
    other = clip_score(unit(jnp.asarray(images)), unit(jnp.asarray(texts)), PERCENT)
    np.testing.assert_allclose(other, 100 * cosine, rtol=1e-4, atol=1e-4)


def test_clip_score_at_its_ends():
    x = unit(jnp.asarray(normal(4, 8, 2)))
    np.testing.assert_allclose(clip_score(x, x), 2.5, rtol=1e-6)
    assert list(clip_score(x, -x)) == [0] * 4


def test_ranks_of_known_embeddings():
    texts = jnp.eye(4)
    images = jnp.array([[9, 1, 2, 0], [9, 1, 2, 0], [9, 1, 2, 0], [9, 1, 2, 0]]) / 10.0
    assert list(retrieval_ranks(images, texts, ["a", "b", "c", "d"])) == [1, 3, 2, 4]


def test_a_caption_that_occurs_twice_is_one_candidate():
    texts = jnp.eye(4)[jnp.array([0, 0, 1, 2])]
    images = jnp.eye(4)[jnp.array([0, 0, 0, 2])]
    images = images + 0.1 * jnp.eye(4)[1]
    assert list(retrieval_ranks(images, texts, ["a", "a", "b", "c"])) == [1, 1, 2, 1]


def test_embeddings_that_say_nothing_rank_in_the_middle():
    same = jnp.ones((5, 3))
    assert list(retrieval_ranks(same, same, list("abcde"))) == [3] * 5


def test_directional_similarity_is_the_cosine_of_the_changes(clip):
    originals, images = pictures(3), pictures(3, seed=1)
    direction = text_direction(clip.embed_texts, "a face", "a smiling face", PLAIN)
    words = unit64(clip.embed_texts(["a face", "a smiling face"]))
    moved = unit64(clip.embed_images(images)) - unit64(clip.embed_images(originals))
    wanted = unit64(moved) @ unit64(words[1] - words[0])
    found = directional_similarity(clip, direction, images, originals)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    np.testing.assert_array_equal(directional_similarity(clip, direction, images, images), 0)


def test_identity_is_the_cosine_of_two_faces():
    """To a recogniser that sees nothing but colour."""
    faces = np.ones((2, 32, 32, 3), np.float32) * np.array([[1, 0, 0], [1, 1, 0]])[:, None, None]
    other = faces[::-1].astype(np.float32)
    colour = lambda images: jnp.mean(images, axis=(1, 2))
    faces = faces.astype(np.float32)
    np.testing.assert_allclose(identity_similarity(colour, faces, faces), 1, atol=1e-5)
    np.testing.assert_allclose(identity_similarity(colour, faces, other), 0.5**0.5, atol=1e-5)
