"""Noun phrases of captions: heads, and which adjective belongs to which."""

import itertools

import pytest

from clipdiff_jax.data.phrases import given_phrases, noun_phrases
from clipdiff_jax.data.shapes import COLORS, SHAPES


def found(text):
    return [(tuple(m.text for m in p.modifiers), p.head.text) for p in noun_phrases(text)]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("a green bench and a red car", [(("green",), "bench"), (("red",), "car")]),
        ("A Red Cube.", [(("red",), "cube")]),
        ("a red and blue table", [(("red", "blue"), "table")]),
        ("a big, red car", [(("big", "red"), "car")]),
        ("a red, a blue and a green cube", [((), "red"), ((), "blue"), (("green",), "cube")]),
        ("a car that is red", [(("red",), "car")]),
        ("the car is red and the bench is green", [(("red",), "car"), (("green",), "bench")]),
        ("the cars are red and blue", [(("red", "blue"), "cars")]),
        ("two white dogs sitting on a brown sofa", [(("white",), "dogs"), (("brown",), "sofa")]),
        ("a man riding a black horse", [((), "man"), (("black",), "horse")]),
        ("a man, sitting on the building", [((), "man"), ((), "building")]),
        ("a flying bird", [(("flying",), "bird")]),
        ("a golden ring next to the old king", [(("golden",), "ring"), (("old",), "king")]),
        ("a brown bear in a blue train", [(("brown",), "bear"), (("blue",), "train")]),
        ("a red stop sign under a cloudy sky", [(("red", "stop"), "sign"), (("cloudy",), "sky")]),
        ("black cat on white wall", [(("black",), "cat"), (("white",), "wall")]),
        ("", []),
        ("and the", []),
    ],
)
def test_phrases(text, phrases):
    assert found(text) == phrases


def test_places_are_those_of_the_text():
    text = "  A red car, and the blue boat"
    first, second = noun_phrases(text)
    assert text[first.start : first.end] == "A red car"
    assert text[second.start : second.end] == "the blue boat"
    assert text[second.head.start : second.head.end] == "boat"


def test_every_pair_of_coloured_shapes_has_its_two_phrases():
    pairs = list(itertools.product(COLORS, SHAPES))
    for (c, s), (d, t) in itertools.product(pairs, pairs):
        assert found(f"a {c} {s} and a {d} {t}") == [((c,), s), ((d,), t)]


def test_every_line_of_the_form_of_cc_500_has_its_two_phrases():
    """ "a green bench and a red car": the colours and nouns of that set (arXiv 2212.05032)."""
    nouns = str.split(
        "bench car clock elephant dog horse chair train boat vase cow bird giraffe sheep bowl cup "
        "cat book banana apple backpack suitcase bear cake"
    )
    colors = str.split("red green blue brown yellow gold pink white black")
    for (c, n), (d, m) in zip(
        itertools.product(colors, nouns), itertools.product(nouns, colors), strict=True
    ):
        assert found(f"a {c} {n} and a {m} {d}") == [((c,), n), ((m,), d)]


def test_phrases_that_are_given_win():
    text = "a red stop sign and a cat"
    (one,) = given_phrases(text, ["Red stop sign"])
    assert one.head.text == "sign"
    assert [m.text for m in one.modifiers] == ["red", "stop"]
    with pytest.raises(
        ValueError, match=r"no phrase 'a red sign'.* Did you mean 'a red stop sign'"
    ):
        given_phrases(text, ["a red sign"])
    with pytest.raises(ValueError, match="has no noun"):
        given_phrases(text, ["a"])
