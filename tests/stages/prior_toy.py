"""Embeddings that are a function of their captions, for the tests of priors."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_models import tiny_clip

from clipdiff_jax.data.embeddings import EmbeddingsData, write_embeddings
from clipdiff_jax.pipelines.clip import save_clip
from clipdiff_jax.stages.prior_inputs import PriorInputs, open_prior_inputs
from clipdiff_jax.weights import fingerprint

WIDTH = 8
CAPTIONS = ("a face", "a smiling face", "smiling", "a a a", "face face", "e")
_RNG = np.random.default_rng(0)
MEANINGS = 2 * _RNG.normal(size=(len(CAPTIONS), WIDTH)).astype(np.float32) + 1


def open_toy(folder: Path, count: int = 96, spread: float = 0.1) -> PriorInputs:
    """`count` embeddings around those that `MEANINGS` gives the captions, as written and read."""
    clip = tiny_clip()
    save_clip(folder / "clip", clip.config, clip.params, clip.tokenizer)
    noise = spread * _RNG.normal(size=(count, WIDTH)).astype(np.float32)
    examples = [
        {"embedding": MEANINGS[i % 6] + noise[i], "captions": [CAPTIONS[i % 6]]}
        for i in range(count)
    ]
    path = folder / "embeddings"
    write_embeddings(path, examples, data="toy", clip=fingerprint(clip.params))
    return open_prior_inputs(EmbeddingsData(str(path)), str(folder / "clip"))


def batch_of(inputs: PriorInputs, count: int) -> dict[str, np.ndarray]:
    """The first `count` examples, transformed."""
    rng = np.random.default_rng(0)
    rows = [inputs.transform(inputs.source[i], rng) for i in range(count)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
