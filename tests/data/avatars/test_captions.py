import re

import numpy as np

from clipdiff_jax.data.avatars import captions
from clipdiff_jax.data.avatars.faces import draw_face, labels
from clipdiff_jax.data.avatars.styles import STYLES

FACES = [draw_face(2, i, tuple(STYLES), 0.5) for i in range(400)]
TEXTS = [
    (face, text)
    for i, face in enumerate(FACES)
    for text in captions.captions(face, np.random.default_rng(i), 5)
]


def test_the_vocabulary_is_small():
    words = {word for _, text in TEXTS for word in re.findall(r"[a-z-]+", text)}
    assert 60 < len(words) <= 100


def test_captions_say_only_what_is_true():
    for face, text in TEXTS:
        shown = labels(face)
        glasses = shown.get("glasses")
        assert ("sunglasses" in text) <= (glasses == "sunglasses")
        assert (" glasses" in text and "no glasses" not in text) <= (glasses == "glasses")
        assert (re.search(r"\bsmil", text) is not None) <= (shown.get("mouth") == "smile")
        assert ("pixel art" in text) <= (face.style == "pixel-art")
        color = re.search(r"(\w+) background", text)
        assert color is None or color[1] == shown["background"]
        if "bald" in text:
            assert shown["hair_style"] == "bald"


def test_wordings_vary_and_articles_agree():
    texts = [text for _, text in TEXTS]
    assert len(set(texts)) > 0.8 * len(texts)
    assert 0.1 < np.mean(["," in t and " with " not in t and " a " not in t for t in texts]) < 0.3
    for text in texts:
        assert not re.search(r"\ba [aeiou]", text), text
        assert not re.search(r"\ban [^aeiou]", text), text
        assert "  " not in text
        assert text == text.strip()
        assert text


def test_each_attribute_is_named_now_and_then():
    mentioned = np.mean([f.skin + " skin" in t for f, t in TEXTS])
    assert 0.25 < mentioned < 0.6


def test_captions_depend_on_the_generator_only():
    first, again = (captions.captions(FACES[0], np.random.default_rng(9), 4) for _ in range(2))
    assert first == again
