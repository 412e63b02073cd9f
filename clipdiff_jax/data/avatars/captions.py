"""Captions of avatars, composed from what the picture shows, in many wordings.

A caption names a random subset of the attributes: each is named with a probability that is itself
drawn from [0.25, 0.6] once per caption, so that short and long captions both occur. About a fifth
are bare tag lists. The vocabulary has fewer than a hundred words.
"""

import dataclasses

import numpy as np

from clipdiff_jax.data.avatars.faces import Face, labels
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, MAIN_STYLE
from clipdiff_jax.data.tokenize import Tokenizer, Vocabulary, words_of

NOUNS = ("face", "person", "portrait", "character", "avatar")
# As an adjective before the noun, and as a name of the picture before "of a ...".
STYLE_WORDS = {
    "avataaars": ("cartoon", "a cartoon"),
    "pixel-art": ("pixel art", "pixel art"),
    "lorelei": ("ink drawn", "an ink drawing"),
    "big-ears": ("big eared", "a big ears cartoon"),
}
HAIR_STYLES = {
    "short": "short {} hair", "curly": "curly {} hair", "long": "long {} hair", "bob": "a {} bob",
    "bun": "a {} bun", "afro": "an {} afro", "bald": "a bald head",
}  # fmt: skip
CLOTHES = {
    "hoodie": "a {} hoodie", "blazer": "a {} blazer", "sweater": "a {} sweater",
    "overall": "{} overalls", "shirt": "a {} shirt", "v-neck": "a {} v-neck shirt",
}  # fmt: skip
# value -> (before the noun, after "with", after "who is"); None where English has no such form.
MOUTHS = {
    "smile": ("smiling", "a smile", "smiling"),
    "serious": ("serious", "a serious mouth", "serious"),
    "sad": ("sad", "a sad mouth", "sad"),
    "open": ("shouting", "an open mouth", "shouting"),
}
EYES = {
    "open": "open eyes", "closed": "closed eyes", "happy": "happy eyes",
    "surprised": "surprised eyes", "squinting": "squinting eyes", "winking": "a winking eye",
}  # fmt: skip
BEARDS = {"none": "no beard", "beard": "a beard", "moustache": "a moustache"}
# How much less often than other values these are named.
RARELY_NAMED = {("glasses", "none"): 0.2, ("beard", "none"): 0.2, ("eyes", "open"): 0.3}
_GLUE = frozenset(
    ("a", "an", "and", "background", "bearded", "clothes", "hair", "is", "no", "of", "on", "skin",
     "wearing", "who", "with")
)  # fmt: skip
TAG_LISTS = 0.2


def words() -> frozenset[str]:
    """Every word that captions are made of."""
    values = [value for values in ATTRIBUTES.values() for value in values if value != "overall"]
    phrases = [*NOUNS, *HAIR_STYLES.values(), *CLOTHES.values(), *EYES.values(), *BEARDS.values()]
    phrases += [word for forms in (*STYLE_WORDS.values(), *MOUTHS.values()) for word in forms]
    phrases += values
    return _GLUE | {word for phrase in phrases for word in words_of(phrase)}


def captions(face: Face, rng: np.random.Generator, count: int = 1) -> list[str]:
    """Returns `count` captions of `face`, drawn with `rng`; each names some of what is shown."""
    shown = labels(face)
    return [_caption(shown, rng) for _ in range(count)]


def knowing_avatars(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer of the demo, which warns of words that its models have never seen."""
    known = Vocabulary(words(), "The demo knows cartoon faces alone")
    return dataclasses.replace(tokenizer, vocabulary=known)


def describe(named: dict[str, str], rng: np.random.Generator) -> str:
    """A sentence that names exactly these attributes, `"style"` among them, worded at random."""
    if "style" not in named:
        raise ValueError(f"'style' is not among the attributes to name: {', '.join(named)}")
    return _sentence(named, named["style"], rng)


def _caption(shown: dict[str, str], rng: np.random.Generator) -> str:
    probability = rng.uniform(0.25, 0.6)
    named = {
        name: word
        for name, word in shown.items()
        if rng.random() < probability * RARELY_NAMED.get((name, word), 1.0)
    }
    if rng.random() < TAG_LISTS and named:
        return _tags(named, rng)
    return _sentence(named, shown["style"], rng)


def _sentence(named: dict[str, str], style: str, rng: np.random.Generator) -> str:
    before: list[str] = []  # the noun
    having: list[str] = []
    being: list[str] = []
    wearing: list[str] = []
    if "mouth" in named:
        form = int(rng.integers(3))
        (before, having, being)[form].append(MOUTHS[named["mouth"]][form])
    having += _hair(named)
    if "skin" in named:
        having.append(f"{named['skin']} skin")
    if "eyes" in named:
        having.append(EYES[named["eyes"]])
    if "beard" in named:
        if named["beard"] == "beard" and rng.random() < 0.3:
            before.append("bearded")
        else:
            having.append(BEARDS[named["beard"]])
    if named.get("glasses") == "none":
        having.append("no glasses")
    elif "glasses" in named:
        (wearing if rng.random() < 0.5 else having).append(named["glasses"])
    wearing += _clothes(named)
    order = rng.permutation(len(having))

    noun = NOUNS[int(rng.integers(len(NOUNS)))]
    # The other styles are named more often than the main one, which goes without saying.
    name_style = "style" in named or (style != MAIN_STYLE and rng.random() < 0.5)
    adjective, title = STYLE_WORDS[style]
    titled = name_style and rng.random() < 0.5
    if name_style and not titled:
        before.append(adjective)
    text = _with_article(" ".join([*before, noun]))
    if titled:
        text = f"{title} of {text}"
    if having:
        text += " with " + _enumerate([having[i] for i in order])
    if being:
        text += " who is " + " and ".join(being)
    if wearing:
        text += " wearing " + _enumerate(wearing)
    if "background" in named:
        text += f" on a {named['background']} background"
    return text


def _tags(named: dict[str, str], rng: np.random.Generator) -> str:
    tags = _hair(named) + _clothes(named)
    if "style" in named:
        tags.append(STYLE_WORDS[named["style"]][0])
    if "mouth" in named:
        tags.append(MOUTHS[named["mouth"]][0])
    if "skin" in named:
        tags.append(f"{named['skin']} skin")
    if "eyes" in named:
        tags.append(EYES[named["eyes"]])
    if "glasses" in named:
        tags.append("no glasses" if named["glasses"] == "none" else named["glasses"])
    if "beard" in named:
        tags.append(BEARDS[named["beard"]])
    if "background" in named:
        tags.append(f"{named['background']} background")
    bare = [tag.removeprefix("a ").removeprefix("an ") for tag in tags]
    return ", ".join(bare[i] for i in rng.permutation(len(bare)))


def _hair(named: dict[str, str]) -> list[str]:
    color, style = named.get("hair_color", ""), named.get("hair_style")
    if style is None:
        return [f"{color} hair"] if color else []
    return [_fill(HAIR_STYLES[style], color)]


def _clothes(named: dict[str, str]) -> list[str]:
    color, clothes = named.get("clothes_color", ""), named.get("clothes")
    if clothes is None:
        return [f"{color} clothes"] if color else []
    return [_fill(CLOTHES[clothes], color)]


def _fill(pattern: str, color: str) -> str:
    text = pattern.format(color) if color else pattern.replace("{} ", "")
    article, _, rest = text.partition(" ")
    return _with_article(rest) if article in ("a", "an") else text


def _with_article(text: str) -> str:
    return ("an " if text[0] in "aeiou" else "a ") + text


def _enumerate(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
