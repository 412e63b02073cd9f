"""The latents of a data set, computed once: a folder as `data.embeddings` has it.

A record holds the mean latents of a picture, scaled and flattened, with its captions. The folder
says of which data and of which autoencoder they are, so that others are refused.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.data.embeddings import INFO, EmbeddingsData, open_embeddings, write_embeddings
from clipdiff_jax.data.sources import DataSource
from clipdiff_jax.data.transforms import prepare
from clipdiff_jax.latent.codec import Codec
from clipdiff_jax.weights.params import fingerprint

logger = logging.getLogger(__name__)
BATCH = 16


class Latents:
    """A source whose examples have `"latent"` [h,w,c] in place of an image; pickles by its path."""

    def __init__(self, path: str | Path, shape: tuple[int, int, int]) -> None:
        self._stored = open_embeddings(EmbeddingsData(str(path)))
        self._shape = shape
        self.fingerprint = self._stored.fingerprint

    def __len__(self) -> int:
        return len(self._stored)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._stored[index]
        return example | {"latent": example["embedding"].reshape(self._shape)}


def stored_latents(path: str | Path, source: DataSource, codec: Codec, image_size: int) -> Latents:
    """The latents of a source's middle squares, from the folder `path`; computed and written where
    there are none yet.

    Raises `ValueError` where the folder has those of other data, another autoencoder or size.
    """
    side = image_size // codec.config.factor
    shape = side, side, codec.config.latent_channels
    of = f"{fingerprint(codec.params)}-{image_size}"
    if not (Path(path) / INFO).is_file():
        logger.info("writing the latents of %d pictures to '%s'", len(source), path)
        examples = _examples(source, codec, image_size)
        write_embeddings(path, examples, data=source.fingerprint, clip=of)
    info = open_embeddings(EmbeddingsData(str(path))).info
    found, wanted = (info.data, info.clip), (source.fingerprint, of)
    if found != wanted:
        raise ValueError(
            f"'{path}' has the latents of data {found[0]} by autoencoder {found[1]}, expected "
            f"{wanted[0]} and {wanted[1]}: give another folder"
        )
    return Latents(path, shape)


def _examples(source: DataSource, codec: Codec, size: int) -> Iterator[dict[str, Any]]:
    transform, rng = prepare(size), np.random.default_rng(0)
    for indices, count in filled_batches(np.arange(len(source)), min(BATCH, len(source))):
        rows = [source[int(i)] for i in indices]
        images = np.stack([transform(row, rng)["image"] for row in rows])
        latents = codec.encode_batch(jnp.asarray(images))
        for row, latent in zip(rows[:count], np.asarray(latents), strict=False):
            yield {**row, "embedding": latent.ravel()}
