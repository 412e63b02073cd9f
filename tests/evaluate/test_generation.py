"""Scores of generated pictures: of perfect ones, of other texts' ones, of swapped colours."""

from dataclasses import replace

import numpy as np
import pytest

from clipdiff_jax.data.avatar_faces import is_held_out, labels, render, split_of
from clipdiff_jax.data.avatar_styles import HELD_OUT
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.evaluate.attributes import load_attributes
from clipdiff_jax.evaluate.generation import diversity, draw_prompts, score_generation

COUNT = 24


def renders(prompts):
    return to_float(np.stack([render(prompt.face, 64) for prompt in prompts]))


@pytest.fixture(scope="module")
def prompts():
    return draw_prompts(COUNT, "seen")


@pytest.fixture(scope="module")
def classifier():
    return load_attributes()


@pytest.mark.parametrize("combination", ["seen", "unseen"])
def test_prompts_name_what_held_out_faces_show(combination):
    for prompt in draw_prompts(COUNT, combination):
        shown = labels(prompt.face)
        assert prompt.named.items() <= shown.items()
        assert 4 <= len(prompt.named) <= 6  # the style, and three to five more
        assert split_of(prompt.face) == "test"
        named_pairs = [set(pair) <= prompt.named.items() for pair in HELD_OUT]
        assert is_held_out(prompt.face) == any(named_pairs) == (combination == "unseen")
        if "hair_color" in prompt.named:
            assert prompt.named["hair_color"] in prompt.text


def test_the_faces_themselves_are_right_and_others_are_not(prompts, classifier):
    truth = renders(prompts)
    perfect = score_generation(prompts, truth, classifier, truth)
    assert perfect.named == perfect.truth > 0.98
    assert perfect.pictures == COUNT
    other = score_generation(prompts, np.roll(truth, 1, axis=0), classifier, truth)
    assert other.named < 0.7
    assert other.whole < 0.2
    assert other.truth == perfect.truth
    assert 0 < other.error < 0.1
    assert set(other.by_attribute) == {name for prompt in prompts for name in prompt.named}


def test_colours_on_the_wrong_thing_are_swapped_not_bound(classifier):
    def coloured(hair, clothes):
        return replace(base, hair_color=hair, clothes_color=clothes)

    base = next(
        p.face
        for p in draw_prompts(200, "seen")
        if {"hair_color", "clothes_color"} <= labels(p.face).keys()
    )
    wanted, found = coloured("red", "blue"), coloured("blue", "red")
    assert (labels(found)["hair_color"], labels(found)["clothes_color"]) == ("blue", "red")
    named = {k: labels(wanted)[k] for k in ("style", "hair_color", "clothes_color")}
    prompt = draw_prompts(1, "seen")[0]._replace(named=named, face=wanted)
    pictures = [to_float(render(face, 64))[None] for face in (wanted, found)]
    right, wrong = (score_generation([prompt], p, classifier, pictures[0]) for p in pictures)
    assert (right.bound, right.swapped) == (1.0, 0.0)
    assert (wrong.bound, wrong.swapped) == (0.0, 1.0)


def test_diversity_is_the_mean_distance_of_two():
    flat = np.zeros((3, 4, 4, 3))
    flat[1], flat[2] = 0.5, 1.0
    assert diversity(flat) == pytest.approx((0.5 + 1.0 + 0.5) / 3)
    with pytest.raises(ValueError, match="of two pictures or more, got 1"):
        diversity(flat[:1])


def test_what_does_not_fit_is_named(prompts, classifier):
    images = renders(prompts)
    with pytest.raises(ValueError, match="24 prompts need as many images and renders, got 23"):
        score_generation(prompts, images[1:], classifier, images[1:])
    with pytest.raises(ValueError, match="expected 1 <= fewest <= most, got 3 and 2"):
        draw_prompts(1, "seen", most=2)
