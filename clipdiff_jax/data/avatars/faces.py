"""A face is a record of attribute words; a picture is what one art style makes of the record.

Because the picture is a function of the record, changing one word and rendering again gives the
true counterfactual of an edit. Which of a word's variants is drawn depends on the face's seed and
on that word only, so nothing else in the picture moves.

Rendering needs the extra `[demo]` (dicebear-core, dicebear-styles, resvg_py); records do not.
"""

import functools
import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from importlib import resources
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.core.checks import MissingExtra
from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, HELD_OUT, STYLES, Options

Split = Literal["train", "valid", "test", "unseen"]
# Attributes that change few pixels.
DETAILS = ("mouth", "eyes", "glasses", "beard")


@dataclass(frozen=True)
class Face:
    """One face: its art style, its attribute words, and the seed that picks among variants.

    Raises `ValueError` for a style or a value that does not exist.
    """

    style: str
    hair_style: str
    hair_color: str
    skin: str
    mouth: str
    eyes: str
    glasses: str
    beard: str
    clothes: str
    clothes_color: str
    background: str
    seed: int = 0

    def __post_init__(self) -> None:
        _expect(self.style, STYLES, "art style")
        for name, values in ATTRIBUTES.items():
            _expect(getattr(self, name), values, name)


def draw_face(seed: int, index: int, styles: tuple[str, ...], main_share: float) -> Face:
    """Draws face `index` of the stream `seed`.

    The first of `styles` has the share `main_share` of all faces and the others share the rest
    equally. Values are drawn among those the style can draw, with the frequencies of `ATTRIBUTES`.
    """
    rng = np.random.default_rng((seed, index))
    others = styles[1:]
    style = styles[0]
    if others and rng.random() >= main_share:
        style = others[int(rng.integers(len(others)))]
    return Face(style=style, **_draw_values(rng, style), seed=int(rng.integers(2**31)))


def draw_variant(face: Face, seed: int, index: int, number: int) -> Face:
    """Returns `face`, draw `index` of the stream `seed`, with its `DETAILS` drawn again.

    `number` counts the variants of a face from 1.
    """
    values = _draw_values(np.random.default_rng((seed, index, number)), face.style)
    return replace(face, **{name: values[name] for name in DETAILS})


def _draw_values(rng: np.random.Generator, style: str) -> dict[str, Any]:
    drawable = STYLES[style].draws
    values = {}
    for name, frequencies in ATTRIBUTES.items():
        words = [word for word in frequencies if word in drawable.get(name, frequencies)]
        weights = np.cumsum([frequencies[word] for word in words])
        values[name] = words[int(np.searchsorted(weights, rng.random() * weights[-1], "right"))]
    return values


def counterfactual(face: Face, attribute: str, value: str) -> Face:
    """Returns `face` with one attribute (or its `style`) changed and everything else kept.

    Raises `ValueError` for an unknown attribute or value, for one that the face's art style does
    not draw, and where the change could not be seen (the hair colour of a bald face).
    """
    _expect(attribute, ("style", *ATTRIBUTES), "attribute")
    change: dict[str, Any] = {attribute: value}
    changed = replace(face, **change)
    if attribute != "style" and value != getattr(face, attribute):
        drawn = STYLES[face.style].draws.get(attribute)
        if drawn is None:
            raise ValueError(
                f"the art style '{face.style}' does not draw '{attribute}'; it draws "
                f"{', '.join(STYLES[face.style].draws)}"
            )
        _expect(value, drawn, f"{attribute} of the art style {face.style}")
        if attribute not in labels(changed):
            raise ValueError(
                f"'{attribute}' cannot be seen on this face: {json.dumps(labels(face))}"
            )
    return changed


def labels(face: Face) -> dict[str, str]:
    """What the picture of `face` shows, in words: its style and the attributes that can be seen.

    Left out are attributes that the style does not draw, and those covered up: the hair colour of
    a bald face (its beard is still drawn in it), the eyes behind sunglasses, the mouth behind the
    large beards of `lorelei`.
    """
    style = STYLES[face.style]
    shown = {"style": face.style}
    for name in style.draws:
        shown[name] = _drawn_word(face, name)
    for (name, word), hidden in style.hides.items():
        if shown[name] == word:
            shown.pop(hidden, None)
    return shown


def resolved_options(face: Face) -> Options:
    """The DiceBear options that draw `face`: one explicit value for every component and colour."""
    style = STYLES[face.style]
    options: Options = {"seed": "face", **style.fixed}
    for name, alternatives in style.free.items():
        options |= _pick(alternatives, face.seed, name)
    for name, drawn in style.draws.items():
        word = _drawn_word(face, name)
        options |= _pick(drawn[word], face.seed, name + word)
    return options


def render(face: Face, size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Draws `face` at `size` x `size` pixels, RGB.

    Raises `MissingExtra` naming `[demo]` where the renderer is not installed.
    """
    options = resolved_options(face)
    check_options(face.style, options)
    resvg = _demo_module("resvg_py")
    svg = _demo_module("dicebear").Avatar(_style(face.style), {**options, "size": size})
    png = resvg.svg_to_bytes(
        svg_string=svg.to_string(), width=size, height=size, skip_system_fonts=True
    )
    return np.asarray(Image.open(io.BytesIO(bytes(png))).convert("RGB"))


def picture_key(face: Face) -> str:
    """A hash of what is drawn: equal for equal pictures, whatever record they came from."""
    drawn = json.dumps([face.style, resolved_options(face)], sort_keys=True)
    return hashlib.sha256(drawn.encode()).hexdigest()


def is_held_out(face: Face) -> bool:
    """Whether the face shows one of the attribute pairs of `HELD_OUT`."""
    shown = labels(face)
    return any(all(shown.get(name) == word for name, word in pair) for pair in HELD_OUT)


def split_of(face: Face) -> Split:
    """The one split a face may appear in, decided by the hash of its picture.

    Of faces without a held-out pair 90% are for training, 5% for validation and 5% for testing;
    of faces with one, one in five is for testing and the rest are `"unseen"`, for whatever judges
    models (it must know these combinations) and never for a model that is judged.
    """
    bucket = int(picture_key(face)[:8], 16) % 20
    if is_held_out(face):
        return "test" if bucket < 4 else "unseen"
    if bucket == 0:
        return "test"
    return "valid" if bucket == 1 else "train"


def to_json(face: Face) -> str:
    """One line of JSON with the record; `from_json` reads it back."""
    return json.dumps(asdict(face))


def from_json(line: str) -> Face:
    """Reads a record that `to_json` wrote."""
    return Face(**json.loads(line))


def check_options(style: str, options: Options) -> None:
    """Raises `ValueError` for an option name or a variant that the style's definition lacks.

    DiceBear itself ignores unknown names and drops a component with an unknown variant.
    """
    described = _described(style)
    for name, value in options.items():
        _expect(name, described, f"option of the art style {style}")
        if described[name]["type"] == "enum":
            _expect(value, described[name]["values"], f"{name} of the art style {style}")


def _drawn_word(face: Face, attribute: str) -> str:
    style = STYLES[face.style]
    word: str = getattr(face, attribute)
    return word if word in style.draws[attribute] else style.substitutes[attribute][word]


def _pick(alternatives: list[Options], seed: int, word: str) -> Options:
    if len(alternatives) == 1:
        return alternatives[0]
    digest = hashlib.blake2s(f"{seed}/{word}".encode(), digest_size=4).digest()
    return alternatives[int.from_bytes(digest) % len(alternatives)]


def _expect(value: Any, choices: Iterable[str], what: str) -> None:
    choices = list(choices)
    if value not in choices:
        raise ValueError(
            f"unknown {what}: {value!r}; expected one of {', '.join(choices)}."
            + nearest(str(value), choices)
        )


def _demo_module(name: str) -> Any:
    """Imports part of the avatar renderer, which is an optional dependency."""
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingExtra(
            f"avatars are drawn by the package that provides '{name}', which is not installed; "
            "install the extra: pip install 'clipdiff_jax[demo]'"
        ) from error


def definition(style: str) -> dict[str, Any]:
    """The style's DiceBear definition: components, colours, and its creator and licence."""
    _expect(style, STYLES, "art style")
    _demo_module("dicebear_styles")
    text = resources.files("dicebear_styles").joinpath(f"{style}.json").read_text("utf-8")
    return dict(json.loads(text))


@functools.cache
def _style(style: str) -> Any:
    return _demo_module("dicebear").Style(definition(style))


@functools.cache
def _described(style: str) -> dict[str, Any]:
    return dict(_demo_module("dicebear").OptionsDescriptor(_style(style)).to_json())
