"""Embeddings that are a function of their captions, for the tests of priors."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.clip.model import Clip, save_clip
from clipdiff_jax.data.embeddings import EmbeddingsData, write_embeddings
from clipdiff_jax.unclip.stages.prior_inputs import PriorInputs, open_prior_inputs
from clipdiff_jax.weights.params import fingerprint
from helpers.tiny_models import tiny_clip

WIDTH = 8
CAPTIONS = ("a face", "a smiling face", "smiling", "a a a", "face face", "e")


def meanings(clip: Clip) -> Float[np.ndarray, "6 8"]:
    """The embedding each caption stands for; each has the cosine 0.6 with that of its text."""
    text = _unit(np.asarray(clip.embed_texts(CAPTIONS)))
    other = np.random.default_rng(0).normal(size=text.shape)
    other = _unit(other - np.sum(other * text, axis=1, keepdims=True) * text)
    return (5 * (0.6 * text + 0.8 * other)).astype(np.float32)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def open_toy(folder: Path, count: int = 96) -> PriorInputs:
    """`count` embeddings close to those that the captions stand for, as written and read."""
    clip = tiny_clip()
    around = meanings(clip)
    save_clip(folder / "clip", clip.config, clip.params, clip.tokenizer)
    noise = 0.1 * np.random.default_rng(1).normal(size=(count, WIDTH)).astype(np.float32)
    examples = [
        {"embedding": around[i % 6] + noise[i], "captions": [CAPTIONS[i % 6]]} for i in range(count)
    ]
    path = folder / "embeddings"
    write_embeddings(path, examples, data="toy", clip=fingerprint(clip.params))
    return open_prior_inputs(EmbeddingsData(str(path)), str(folder / "clip"))


def batch_of(inputs: PriorInputs, count: int) -> dict[str, Array]:
    """The first `count` examples, transformed."""
    rng = np.random.default_rng(0)
    rows = [inputs.transform(inputs.source[i], rng) for i in range(count)]
    return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}
