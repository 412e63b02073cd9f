"""What an avatar can look like: the attributes, their values, and how each art style draws them.

An attribute value is a plain word ("glasses", "pink"). An art style (a DiceBear style definition)
draws the value with one of several variants, for example `short` hair with `shortFlat` or
`shortWaved`. A style need not be able to draw every value; `SUBSTITUTES` says what it draws
instead, so that a face can be rendered again in another style. What a style cannot show at all
(clothes in `lorelei`, which ends at the neck) is left out of its labels and captions.
"""

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Options = dict[str, Any]

MAIN_STYLE = "avataaars"

HAIR_COLORS = {
    "black": "1d1a1c", "brown": "6a3e22", "blond": "ecc860", "red": "c23b1e",
    "grey": "a4a8ae", "pink": "f06bb0", "blue": "3a6fd8", "green": "3fa34d",
}  # fmt: skip
SKINS = {"pale": "ffdbb4", "tan": "d08b5b", "brown": "ae5d29", "dark": "614335"}
CLOTHES_COLORS = {
    "red": "d94141", "blue": "2f6fde", "green": "2e9e57", "yellow": "f2c230", "black": "2b2d33",
    "white": "f5f5f5",
}  # fmt: skip
BACKGROUNDS = {
    "white": "ffffff", "grey": "c4cad2", "blue": "a5d1f5", "green": "b3e3ac", "pink": "f9c4d6",
    "yellow": "fbe59a",
}  # fmt: skip

# Attribute -> value -> relative frequency in drawn faces.
ATTRIBUTES: MappingProxyType[str, dict[str, float]] = MappingProxyType({
    "hair_style": {"short": 3, "curly": 2, "long": 3, "bob": 1.5, "bun": 1.5, "afro": 1.5,
                   "bald": 1},
    "hair_color": dict.fromkeys(HAIR_COLORS, 1.0),
    "skin": dict.fromkeys(SKINS, 1.0),
    "mouth": {"smile": 3, "serious": 3, "sad": 2, "open": 2},
    "eyes": {"open": 4, "closed": 1, "happy": 1, "surprised": 1, "squinting": 1, "winking": 1},
    "glasses": {"none": 6, "glasses": 3, "sunglasses": 2},
    "beard": {"none": 6, "beard": 2, "moustache": 2},
    "clothes": {"hoodie": 1, "blazer": 1, "sweater": 1, "overall": 1, "shirt": 1, "v-neck": 1},
    "clothes_color": dict.fromkeys(CLOTHES_COLORS, 1.0),
    "background": dict.fromkeys(BACKGROUNDS, 1.0),
})  # fmt: skip

# Pairs that no training or validation face has; faces with one are found in the test split only.
HELD_OUT = (
    (("hair_color", "green"), ("glasses", "sunglasses")),
    (("hair_color", "pink"), ("beard", "beard")),
    (("hair_style", "bun"), ("mouth", "sad")),
    (("skin", "dark"), ("eyes", "winking")),
)


@dataclass(frozen=True)
class ArtStyle:
    """How one DiceBear style draws the attributes.

    `draws[attribute][value]` lists alternative option sets; one is chosen by the face's own seed.
    `fixed` holds for every face of the style, and `free[name]` are alternatives without a word,
    again chosen by the seed. `substitutes[attribute][value]` is the value drawn in place of one
    that the style lacks, and a value in `hides` covers another attribute up.
    """

    fixed: Options
    draws: dict[str, dict[str, list[Options]]]
    free: dict[str, list[Options]] = field(default_factory=dict)
    substitutes: dict[str, dict[str, str]] = field(default_factory=dict)
    hides: dict[tuple[str, str], str] = field(default_factory=dict)


def _variants(component: str, names: str) -> list[Options]:
    """Option sets that show `component` in each of the named variants."""
    return [{f"{component}Variant": name, f"{component}Probability": 100} for name in names.split()]


def _without(component: str) -> list[Options]:
    return [{f"{component}Probability": 0}]


def _colors(option: str, table: dict[str, str]) -> dict[str, list[Options]]:
    return {name: [{option: value}] for name, value in table.items()}


def _numbered(prefix: str, numbers: str) -> str:
    return " ".join(f"{prefix}{int(n):02d}" for n in numbers.split())


_AVATAAARS = ArtStyle(
    fixed={"scale": 1.2, "translateY": 5, "accessoriesColor": "262e33", "noseVariant": "default"},
    draws={
        "hair_style": {
            "short": _variants("top", "shortFlat shortWaved theCaesarAndSidePart"),
            "curly": _variants("top", "shortCurly curly"),
            "long": _variants("top", "straight01 straight02 curvy"),
            "bob": _variants("top", "bob"),
            "bun": _variants("top", "bun"),
            "afro": _variants("top", "fro"),
            "bald": _without("top"),
        },
        "hair_color": {
            name: [{"hairColor": value, "facialHairColor": value}]
            for name, value in HAIR_COLORS.items()
        },
        "skin": _colors("skinColor", SKINS),
        "mouth": {
            "smile": _variants("mouth", "smile"),
            "serious": _variants("mouth", "serious"),
            "sad": _variants("mouth", "sad"),
            "open": _variants("mouth", "screamOpen"),
        },
        "eyes": {
            "open": _variants("eyes", "default"),
            "closed": _variants("eyes", "closed"),
            "happy": _variants("eyes", "happy"),
            "surprised": _variants("eyes", "surprised"),
            "squinting": _variants("eyes", "squint"),
            "winking": _variants("eyes", "wink"),
        },
        "glasses": {
            "none": _without("accessories"),
            "glasses": _variants("accessories", "prescription02 round"),
            "sunglasses": _variants("accessories", "sunglasses wayfarers"),
        },
        "beard": {
            "none": _without("facialHair"),
            "beard": _variants("facialHair", "beardMedium beardMajestic"),
            "moustache": _variants("facialHair", "moustacheFancy moustacheMagnum"),
        },
        "clothes": {
            "hoodie": _variants("clothes", "hoodie"),
            "blazer": _variants("clothes", "blazerAndShirt blazerAndSweater"),
            "sweater": _variants("clothes", "collarAndSweater"),
            "overall": _variants("clothes", "overall"),
            "shirt": _variants("clothes", "shirtCrewNeck"),
            "v-neck": _variants("clothes", "shirtVNeck"),
        },
        "clothes_color": _colors("clothesColor", CLOTHES_COLORS),
        "background": _colors("backgroundColor", BACKGROUNDS),
    },
    free={
        "eyebrows": _variants(
            "eyebrows",
            "defaultNatural flatNatural raisedExcitedNatural sadConcernedNatural upDownNatural",
        ),
    },
    hides={("hair_style", "bald"): "hair_color", ("glasses", "sunglasses"): "eyes"},
)

_PIXEL_ART = ArtStyle(
    # No scaling: at sizes divisible by 16 each drawn pixel then falls on whole image pixels.
    fixed={
        "beardProbability": 0,
        "hatProbability": 0,
        "accessoriesProbability": 0,
        "glassesColor": "191919",
        "mouthColor": "b5403a",
    },
    draws={
        "hair_style": {
            "short": _variants("hair", _numbered("short", "1 4 9 10 15 16 22")),
            "curly": _variants("hair", "long15 short11 short13"),
            "long": _variants("hair", _numbered("long", "1 2 3 12 13 20")),
            "bob": _variants("hair", _numbered("long", "4 16 21")),
            "bald": _without("hair"),
        },
        "hair_color": _colors("hairColor", HAIR_COLORS),
        "skin": _colors("skinColor", SKINS),
        "mouth": {
            "smile": _variants("mouth", _numbered("happy", "6 9")),
            "serious": _variants("mouth", _numbered("sad", "4 5 6")),
            "sad": _variants("mouth", _numbered("sad", "1")),
            "open": _variants("mouth", _numbered("happy", "1")),
        },
        "glasses": {
            "none": _without("glasses"),
            "glasses": _variants("glasses", _numbered("light", "5 6 7")),
            "sunglasses": _variants("glasses", _numbered("dark", "5 6 7")),
        },
        "clothes_color": _colors("clothingColor", CLOTHES_COLORS),
        "background": _colors("backgroundColor", BACKGROUNDS),
    },
    free={
        "eyes": _variants("eyes", _numbered("variant", "1 6 9 11")),
        "eye_color": [{"eyesColor": c} for c in ("697b94", "588387", "876658")],
        "clothes": _variants("clothes", _numbered("variant", "3 4 5 8 11")),
    },
    substitutes={"hair_style": {"bun": "bob", "afro": "curly"}},
    hides={("hair_style", "bald"): "hair_color"},
)

_LORELEI = ArtStyle(
    fixed={
        "scale": 1.15,
        "translateY": 3,
        "hairAccessoriesProbability": 0,
        "frecklesProbability": 0,
        "earringsProbability": 0,
        "earringsColor": "000000",
        "hairAccessoriesColor": "000000",
        **{f"{part}Color": "000000" for part in ("eyebrows", "eyes", "freckles", "glasses")},
        **{f"{part}Color": "000000" for part in ("mouth", "nose", "outline")},
    },
    draws={
        "hair_style": {
            "short": _variants("hair", _numbered("variant", "1 2 3 8 47")),
            "curly": _variants("hair", _numbered("variant", "5 9 39")),
            "long": _variants("hair", _numbered("variant", "15 16 21 35")),
            "bob": _variants("hair", _numbered("variant", "13 19 23")),
            "bun": _variants("hair", _numbered("variant", "26 38")),
        },
        "hair_color": _colors("hairColor", HAIR_COLORS),
        "skin": _colors("skinColor", SKINS),
        "mouth": {
            "smile": _variants("mouth", _numbered("happy", "5 6 16")),
            "serious": _variants("mouth", _numbered("sad", "3 9")),
            "sad": _variants("mouth", _numbered("sad", "4 5")),
            "open": _variants("mouth", _numbered("sad", "1")),
        },
        "eyes": {
            "open": _variants("eyes", _numbered("variant", "2 4 14")),
            "closed": _variants("eyes", _numbered("variant", "19")),
        },
        "glasses": {
            "none": _without("glasses"),
            "glasses": _variants("glasses", _numbered("variant", "1 3 4")),
            "sunglasses": _variants("glasses", _numbered("variant", "2")),
        },
        "beard": {
            "none": _without("beard"),
            "beard": _variants("beard", _numbered("variant", "1 2")),
        },
        "background": _colors("backgroundColor", BACKGROUNDS),
    },
    free={
        "head": _variants("head", _numbered("variant", "1 2 3 4")),
        "nose": _variants("nose", _numbered("variant", "1 5")),
        "eyebrows": _variants("eyebrows", _numbered("variant", "1 2 5 7")),
    },
    substitutes={
        # The style's head is part of its hair, so that it has no bald face.
        "hair_style": {"afro": "curly", "bald": "short"},
        "eyes": {"happy": "closed", "surprised": "open", "squinting": "open", "winking": "open"},
        "beard": {"moustache": "none"},
    },
    hides={("glasses", "sunglasses"): "eyes", ("beard", "beard"): "mouth"},
)

_BIG_EARS = ArtStyle(
    fixed={"scale": 1.1, "detailsProbability": 0},
    draws={
        "hair_style": {
            "short": _variants("hair", _numbered("short", "5 13 14 16 20")),
            "curly": _variants("hair", _numbered("short", "6 7 18")),
            "long": _variants("hair", _numbered("long", "7 15 18 20")),
            "bob": _variants("hair", _numbered("long", "1 10 19")),
            "bun": _variants("hair", _numbered("long", "5 6")),
            "afro": _variants("hair", _numbered("long", "13")),
        },
        "hair_color": _colors("hairColor", HAIR_COLORS),
        "skin": _colors("skinColor", SKINS),
        "mouth": {
            "smile": _variants("mouth", "variant0204 variant0702"),
            "serious": _variants("mouth", "variant0701"),
            "sad": _variants("mouth", "variant0404 variant0705"),
            "open": _variants("mouth", "variant0101 variant0103"),
        },
        "eyes": {
            "open": _variants("eyes", _numbered("variant", "8 9")),
            "closed": _variants("eyes", _numbered("variant", "31")),
            "surprised": _variants("eyes", _numbered("variant", "24 26")),
        },
        "background": _colors("backgroundColor", BACKGROUNDS),
    },
    free={
        "front_hair": _variants("frontHair", _numbered("variant", "3 6 10 12")),
        "head": _variants("head", _numbered("variant", "1 3 6 9")),
        "nose": _variants("nose", _numbered("variant", "1 2 3 4")),
        "ears": _variants("ears", _numbered("variant", "1 6 8")),
        "sideburns": _variants("sideburns", _numbered("variant", "1 3 5")),
    },
    substitutes={
        "hair_style": {"bald": "short"},
        "eyes": {"happy": "closed", "squinting": "open", "winking": "open"},
    },
)

STYLES: MappingProxyType[str, ArtStyle] = MappingProxyType({
    "avataaars": _AVATAAARS,
    "pixel-art": _PIXEL_ART,
    "lorelei": _LORELEI,
    "big-ears": _BIG_EARS,
})  # fmt: skip
