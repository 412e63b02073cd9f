"""What a CLIP of avatars knows: retrieval of captions, and attributes named zero-shot.

Retrieval: of N held-out faces with one caption each, how often the most similar caption is the
face's own. Zero-shot (Radford et al. 2021, section 3.1): an attribute's value is the one whose
prompts, averaged over wordings, are most similar to the picture.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.data.avatars.captions import (
    BEARDS,
    CLOTHES,
    EYES,
    HAIR_STYLES,
    MOUTHS,
    STYLE_WORDS,
)
from clipdiff_jax.data.avatars.source import Avatars
from clipdiff_jax.data.avatars.styles import ATTRIBUTES
from clipdiff_jax.metrics.retrieval import retrieval_ranks
from clipdiff_jax.models.clip import unit

NOUNS = ("face", "person", "portrait", "character")
BATCH = 64


def prompts() -> dict[str, dict[str, list[str]]]:
    """attribute -> value -> its wordings, such as "a face with red hair"."""
    plain = lambda pattern: pattern.replace("{} ", "")
    phrases: dict[str, dict[str, str]] = {
        "style": {value: f"{words[1]} of a {{}}" for value, words in STYLE_WORDS.items()},
        "hair_style": {v: f"a {{}} with {plain(words)}" for v, words in HAIR_STYLES.items()},
        "hair_color": {v: f"a {{}} with {v} hair" for v in ATTRIBUTES["hair_color"]},
        "skin": {v: f"a {{}} with {v} skin" for v in ATTRIBUTES["skin"]},
        "mouth": {v: f"a {words[0]} {{}}" for v, words in MOUTHS.items()},
        "eyes": {v: f"a {{}} with {words}" for v, words in EYES.items()},
        "glasses": {
            v: f"a {{}} with {'no glasses' if v == 'none' else v}" for v in ATTRIBUTES["glasses"]
        },
        "beard": {v: f"a {{}} with {words}" for v, words in BEARDS.items()},
        "clothes": {v: f"a {{}} wearing {plain(words)}" for v, words in CLOTHES.items()},
        "clothes_color": {v: f"a {{}} wearing {v} clothes" for v in ATTRIBUTES["clothes_color"]},
        "background": {v: f"a {{}} on a {v} background" for v in ATTRIBUTES["background"]},
    }
    return {
        attribute: {value: [p.format(noun) for noun in NOUNS] for value, p in values.items()}
        for attribute, values in phrases.items()
    }


def embed_all(
    clip: Clip, images: Shaped[np.ndarray, "n h w 3"], batch_size: int = BATCH
) -> Float[Array, "n d"]:
    """Unit embeddings of any number of images, a batch at a time."""
    starts = range(0, len(images), batch_size)
    parts = [clip.embed_images(images[start : start + batch_size]) for start in starts]
    return unit(jnp.concatenate(parts))


def retrieval(clip: Clip, faces: Float[Array, "n d"], captions: Sequence[str]) -> float:
    """The share of faces (unit embeddings) whose own caption is the most similar of all.

    A caption that occurs twice is right in both places.
    """
    texts = unit(clip.embed_texts(captions))
    return float(np.mean(retrieval_ranks(faces, texts, captions) == 1))


def zero_shot(clip: Clip, faces: Float[Array, "n d"], values: dict[str, list[str]]) -> list[str]:
    """For each face (unit embeddings) the value whose wordings are most similar to it."""
    means = [jnp.mean(unit(clip.embed_texts(wordings)), axis=0) for wordings in values.values()]
    best = np.asarray(jnp.argmax(faces @ unit(jnp.stack(means)).T, axis=1))
    return [list(values)[i] for i in best]


def scores(
    clip: Clip, source: Avatars, ways: int = 256, batch_size: int = BATCH
) -> dict[str, float]:
    """Retrieval among groups of `ways` faces (all, where there are fewer), and the accuracy for
    each attribute, asked of the faces that show it.
    """
    ways = min(ways, len(source))
    examples = [source[i] for i in range(len(source))]
    faces = embed_all(clip, np.stack([example["image"] for example in examples]), batch_size)
    groups = [slice(i, i + ways) for i in range(0, len(examples) - ways + 1, ways)]
    hits = [retrieval(clip, faces[g], [e["captions"][0] for e in examples[g]]) for g in groups]
    found = {f"retrieval of {ways}": float(np.mean(hits))}
    for attribute, values in prompts().items():
        told = zero_shot(clip, faces, values)
        pairs = [
            (guess, example["attributes"][attribute])
            for guess, example in zip(told, examples, strict=True)
            if attribute in example["attributes"]
        ]
        if pairs:
            found[attribute] = float(np.mean([guess == truth for guess, truth in pairs]))
    return found
