"""Scores of generated pictures: of perfect ones, of other texts' ones, of swapped colours."""

from dataclasses import replace

import numpy as np
import pytest

from clipdiff_jax.data.avatars.faces import is_held_out, labels, render, split_of
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, HELD_OUT
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.avatars.generation import (
    draw_prompts,
    fitting_faces,
    score_generation,
    variety,
)

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


def test_colours_are_named_alone_and_both_could_have_either():
    for prompt in draw_prompts(COUNT, "colours"):
        hair, clothes = prompt.named["hair_color"], prompt.named["clothes_color"]
        assert set(prompt.named) == {"style", "hair_color", "clothes_color"}
        assert hair != clothes
        assert hair in prompt.text
        assert clothes in prompt.text
        other = replace(prompt.face, hair_color=clothes, clothes_color=hair)
        assert labels(other)["hair_color"] == clothes


class Reads:
    """A classifier that says of every picture what its first pixel stands for."""

    def __init__(self, *said):
        self._said = said

    def predict(self, images):
        return [self._said[int(image[0, 0, 0])] for image in images]


def test_variety_is_of_what_the_text_leaves_open(prompts):
    named = {"style": "avataaars", "mouth": "smile"}
    prompt = prompts[0]._replace(text="a smiling face", named=named)
    one = dict.fromkeys(ATTRIBUTES, "one")
    reads = Reads(one, one | {"mouth": "sad"}, one | {"skin": "two", "eyes": "two"})
    pictures = lambda *kinds: np.stack([np.full((2, 2, 3), float(kind)) for kind in kinds])
    assert variety([prompt] * 2, pictures(0, 0), reads) == 0
    assert variety([prompt] * 2, pictures(0, 1), reads) == 0  # the mouth is named
    left = len(ATTRIBUTES) - 1
    assert variety([prompt] * 2, pictures(0, 2), reads) == pytest.approx(2 / left)
    assert variety([prompt] * 3, pictures(0, 0, 2), reads) == pytest.approx(4 / 3 / left)
    with pytest.raises(ValueError, match="got one of 'a smiling face'"):
        variety([prompt], pictures(0), reads)


def test_fitting_faces_show_what_is_named_and_differ_otherwise(prompts, classifier):
    faces = fitting_faces(prompts[0], 6)
    assert len(faces) == len(set(faces)) == 6
    assert all(prompts[0].named.items() <= labels(face).items() for face in faces)
    images = to_float(np.stack([render(face, 64) for face in faces]))
    assert variety([prompts[0]] * 6, images, classifier) > 0.3


def test_what_does_not_fit_is_named(prompts, classifier):
    images = renders(prompts)
    with pytest.raises(ValueError, match="24 prompts need as many images and renders, got 23"):
        score_generation(prompts, images[1:], classifier, images[1:])
    with pytest.raises(ValueError, match="expected 1 <= fewest <= most, got 3 and 2"):
        draw_prompts(1, "seen", most=2)
