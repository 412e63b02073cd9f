"""A few avatars with the attributes one asks for, rendered on the spot.

The data set renders all of its faces before it gives any; a notebook wants eight. Records are drawn
until enough fit, which costs next to nothing, and those alone are rendered.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import get_args

import numpy as np
from jaxtyping import Float32

from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.avatars.faces import Face, Split, draw_face, labels, render, split_of
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, MAIN_STYLE, STYLES
from clipdiff_jax.data.transforms import to_float

DRAWS = 200_000  # how many records are looked at before combinations count as impossible
SEED = 0


def demo_faces(
    count: int, split: Split = "test", size: int = 64, **attributes: str
) -> Float32[np.ndarray, "count size size 3"]:
    """Avatars in [-1, 1] that show the attributes asked for; always the same ones.

    Args:
      count: how many.
      split: "train", "valid", "test" (faces that no model has seen), or "unseen".
      size: side in pixels.
      attributes: by name, such as hair_color="black", or mouth="sad|serious" for either; and
        style, by default that of most of the training faces. See `data.avatars.styles`.

    The first `count` such faces of the data's own order. Needs the extra `[demo]`. Raises
    `ValueError`, naming the nearest, for what does not exist, and where too few faces fit.
    """
    whole_number("count", count, low=1)
    whole_number("size", size, low=1)
    if split not in get_args(Split):
        raise ValueError(f"no split '{split}'.{nearest(split, get_args(Split))}")
    wanted = {name: _words(name, text) for name, text in attributes.items()}
    styles = wanted.pop("style", (MAIN_STYLE,))
    for style in styles:
        _check_drawn(style, wanted)
    faces = list(itertools.islice(_fitting(styles, split, wanted), count))
    if len(faces) < count:
        asked = ", ".join(f"{name}={'|'.join(words)}" for name, words in wanted.items())
        raise ValueError(f"only {len(faces)} of {DRAWS} faces in '{split}' show {asked}")
    return to_float(np.stack([render(face, size) for face in faces]))


def _fitting(
    styles: tuple[str, ...], split: Split, wanted: Mapping[str, tuple[str, ...]]
) -> Iterator[Face]:
    """The faces that fit, in the order they are drawn, of each style equally many."""
    for index in range(DRAWS):
        face = draw_face(SEED, index, styles, 1 / len(styles))
        shown = labels(face)
        fits = all(shown.get(name) in words for name, words in wanted.items())
        if fits and split_of(face) == split:  # in this order: the split takes longer to tell
            yield face


def _words(name: str, text: str) -> tuple[str, ...]:
    """The values that fit an attribute. Raises `ValueError` for one that does not exist."""
    names = ["style", *ATTRIBUTES]
    if name not in names:
        raise ValueError(
            f"no attribute '{name}'.{nearest(name, names)} Attributes: {', '.join(names)}"
        )
    known = STYLES if name == "style" else ATTRIBUTES[name]
    words = tuple(text.split("|"))
    for word in words:
        if word not in known:
            raise ValueError(
                f"no {name} '{word}'.{nearest(word, known)} There are: {', '.join(known)}"
            )
    return words


def _check_drawn(style: str, wanted: Mapping[str, tuple[str, ...]]) -> None:
    """Raises `ValueError` for an attribute, or values, that the style does not draw."""
    draws = STYLES[style].draws
    for name, words in wanted.items():
        if not any(word in draws.get(name, ()) for word in words):
            drawn = ", ".join(draws.get(name, ())) or "nothing of it"
            raise ValueError(
                f"the style '{style}' has no {name} '{'|'.join(words)}'; it draws {drawn}"
            )
