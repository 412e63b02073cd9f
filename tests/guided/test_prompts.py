"""Prompts: their weights, and what cannot be one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_clip

from clipdiff_jax.guided.prompts import make_critic, split_weight, weighted


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a mushroom", ("a mushroom", 1.0)),
        ("a mushroom:0.5", ("a mushroom", 0.5)),
        ("blurry:-.5", ("blurry", -0.5)),
        ("text:abc", ("text:abc", 1.0)),
        ("ratio 3:4:2", ("ratio 3:4", 2.0)),
        ("http://a.b:80/c", ("http://a.b:80/c", 1.0)),
        ("12", ("12", 1.0)),
    ],
)
def test_a_weight_stands_behind_the_last_colon(text, found):
    assert split_weight(text) == found


def test_weights_sum_to_one_in_size():
    assert [w for _, w in weighted(["a", "b:3"])] == [0.25, 0.75]
    assert [w for _, w in weighted(["a:-1", ("b", -1)])] == [-0.5, -0.5]
    assert weighted("a") == [("a", 1.0)]
    assert weighted(("a", 2)) == [("a", 1.0)]
    picture = pictures(1)[0]
    assert weighted(picture)[0][1] == 1.0


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "no prompts"),
        (["a", "  "], "a prompt is empty"),
        (["a:1", "b:-1"], "sum to 0"),
        ([("a", float("nan"))], "the weight of 'a' is nan"),
        (["a:inf"], "the weight of 'a' is inf"),
    ],
)
def test_what_says_nothing_is_refused(prompts, said):
    with pytest.raises(ValueError, match=said):
        weighted(prompts)


def test_a_critic_measures_the_angle_to_every_prompt():
    clip = tiny_clip()
    critic = make_critic(
        clip, weighted(["a face", "a smiling face:-0.5"]), jax.random.key(0), 4, 1.0
    )
    views = pictures(6).reshape(2, 3, *pictures(1).shape[1:])
    unit = lambda x: np.asarray(x) / np.linalg.norm(x, axis=-1, keepdims=True)
    seen = unit(clip.embed_images(pictures(6)))
    said = unit(clip.embed_texts(["a face", "a smiling face"]))
    angles = np.arccos(np.clip(seen @ said.T, -1, 1)) ** 2 / 2
    wanted = (angles @ np.array([2.0, -1.0])).reshape(2, 3).mean(1)
    np.testing.assert_allclose(critic.distance(jnp.asarray(views)), wanted, atol=1e-4)


def test_a_picture_is_as_many_prompts_as_it_has_cutouts():
    clip, picture = tiny_clip(), pictures(1)[0]
    critic = make_critic(clip, weighted([(picture, 2.0), "a face"]), jax.random.key(0), 4, 1.0)
    np.testing.assert_allclose(critic.weights, [1 / 6] * 4 + [1 / 3], rtol=1e-6)
    assert len({tuple(np.round(t, 5)) for t in np.asarray(critic.targets)}) == 5
    with pytest.raises(ValueError, match="2 pictures, expected one"):
        make_critic(clip, [(pictures(2), 1.0)], jax.random.key(0), 4, 1.0)


def test_a_bright_picture_is_a_prompt():
    """Its squares are floats from 0 to 1, which a picture of a user's must not be."""
    rows = np.linspace(128, 255, 16)[:, None, None]
    bright = np.tile(rows, (1, 16, 3)).astype(np.uint8)
    critic = make_critic(tiny_clip(), [(bright, 1.0)], jax.random.key(0), 4, 0.0)
    assert np.isfinite(critic.targets).all()
