"""Ranks of captions where they are known."""

import jax.numpy as jnp

from clipdiff_jax.metrics.retrieval import retrieval_ranks


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
