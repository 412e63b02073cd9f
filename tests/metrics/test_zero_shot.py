"""Retrieval and zero-shot naming, on embeddings whose right answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip

from clipdiff_jax.data.avatars.styles import ATTRIBUTES, STYLES
from clipdiff_jax.metrics.zero_shot import embed_all, prompts, retrieval, zero_shot
from clipdiff_jax.models.clip import unit

CAPTIONS = ["a face", "a smiling face", "red hair", "a hoodie", "a face"]


@pytest.fixture(scope="module")
def clip():
    return tiny_clip()


def test_retrieval_counts_faces_nearest_to_their_own_caption(clip):
    faces = unit(clip.embed_texts(CAPTIONS))
    assert retrieval(clip, faces, CAPTIONS) == 1  # the two equal captions count as one
    assert retrieval(clip, jnp.roll(faces, 1, axis=0), CAPTIONS) == pytest.approx(1 / 5)


def test_zero_shot_takes_the_value_whose_wordings_are_nearest(clip):
    values = {"smile": ["a smiling face", "a smile"], "sad": ["a sad face", "sad"]}
    means = [unit(clip.embed_texts(wordings)).mean(0) for wordings in values.values()]
    faces = unit(jnp.stack([means[1], means[0], means[1]]))
    assert zero_shot(clip, faces, values) == ["sad", "smile", "sad"]


def test_batches_do_not_change_embeddings(clip):
    images = pictures(5)
    whole = unit(clip.embed_images(images))
    np.testing.assert_allclose(embed_all(clip, images, 2), whole, atol=1e-5)


def test_every_value_has_its_own_wordings():
    asked = prompts()
    assert asked.keys() == {"style", *ATTRIBUTES}
    assert asked["style"].keys() == STYLES.keys()
    for attribute, values in ATTRIBUTES.items():
        assert asked[attribute].keys() == values.keys()
    wordings = [w for values in asked.values() for ws in values.values() for w in ws]
    assert len(set(wordings)) == len(wordings)
    assert "a face with red hair" in wordings
    assert "a person with an afro" in wordings
    assert not any("{" in w or "  " in w for w in wordings)
