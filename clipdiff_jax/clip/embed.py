"""Embeds the pictures of a data set with CLIP, once, for the stages that read embeddings.

    clipdiff embed --config unclip/avatars/embed --out runs/embeddings

The config says which data and which CLIP; `data/embeddings.py` says what is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.core.batching import filled, for_devices
from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.devices import data_mesh, split_batch
from clipdiff_jax.core.progress import counter, showing
from clipdiff_jax.core.types import DTypeName, as_dtype
from clipdiff_jax.data.embeddings import EmbeddingsInfo, write_embeddings
from clipdiff_jax.data.sources import DataConfig, DataSource, open_source
from clipdiff_jax.data.transforms import square
from clipdiff_jax.weights.params import fingerprint


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """Describes what is embedded.

    Attributes:
      data: the pictures.
      clip: the model, as `load_clip` takes it.
      batch_size: pictures at once on all devices together; rounded up to what they can share.
      dtype: what the tower computes in.
    """

    data: DataConfig
    clip: str = "demo"
    batch_size: int = 64
    dtype: DTypeName = "float32"


def embed(config: EmbedConfig, out: str | Path, *, progress: bool | None = None) -> EmbeddingsInfo:
    """Writes the embeddings of `config.data` into the folder `out`; its devices share each batch.

    A picture is cut to its middle square at the tower's size. Raises what opening data and model
    raises.
    """
    whole_number("batch_size", config.batch_size, low=1)
    source, clip = open_source(config.data), load_clip(config.clip, dtype=as_dtype(config.dtype))
    batch_size = for_devices(config.batch_size, jax.local_device_count())
    with showing(progress):
        examples = _embedded(source, clip, batch_size)
        by = fingerprint(clip.params)
        return write_embeddings(out, examples, data=source.fingerprint, clip=by)


def _embedded(source: DataSource, clip: Clip, batch_size: int) -> Iterator[dict[str, Any]]:
    mesh = data_mesh()
    size = clip.config.vision.image_size
    with counter("embedding", total=len(source), unit="img") as counted:
        for start in range(0, len(source), batch_size):
            examples = [source[i] for i in range(start, min(start + batch_size, len(source)))]
            images = np.stack([square(example["image"], size) for example in examples])
            embeddings = np.asarray(
                clip.embed_images(split_batch(mesh, filled(images, batch_size)))
            )
            for example, embedding in zip(examples, embeddings, strict=False):
                yield example | {"embedding": embedding}
            counted.update(len(examples))
