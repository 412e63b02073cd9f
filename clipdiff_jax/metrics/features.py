"""Pictures -> the feature vectors that distribution metrics compare, in a stream.

A network looks at a batch of pictures at a time, shared by all devices, and of every 1024 pictures
the features are written to a file of their own. So memory does not grow with the number of
pictures, an interrupted run resumes at the first missing file, and every metric of the same
pictures and network reads the same files: 8 kB per picture for Inception.
"""

import hashlib
import io
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Shaped, UInt8

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.batching import filled
from clipdiff_jax.core.devices import data_mesh, replicated, split_batch
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.core.progress import counter, showing
from clipdiff_jax.core.types import Params
from clipdiff_jax.data.sources import DataSource
from clipdiff_jax.data.transforms import clip_square, to_float
from clipdiff_jax.models.clip import unit
from clipdiff_jax.weights.params import fingerprint

logger = logging.getLogger(__name__)

PART = 1024  # pictures whose features share a file


@dataclass(frozen=True, eq=False)
class FeatureNetwork:
    """What describes pictures.

    Attributes:
      name: says which network, which parameters and which resize; features are kept under it.
      prepare: a picture, uint8 [H, W, 3] of any size -> what the network takes of it, float32.
      embed: (params, a batch of prepared pictures) -> features [B, D].
    """

    name: str
    prepare: Callable[[UInt8[np.ndarray, "h w 3"]], Float32[np.ndarray, "s s 3"]]
    embed: Callable[[Params, Array], Array] = field(repr=False)
    params: Params = field(repr=False)


@dataclass(frozen=True)
class Features:
    """The features of some pictures; iterating gives them in blocks [n, D], float32.

    Attributes:
      folder: of the files.
      count: pictures.
      network: name of the `FeatureNetwork`.
    """

    folder: Path
    count: int
    network: str

    def __iter__(self) -> Iterator[Float32[np.ndarray, "n d"]]:
        for part in range(-(-self.count // PART)):
            yield np.load(part_path(self.folder, part), allow_pickle=False)

    def array(self) -> Float32[np.ndarray, "n d"]:
        """All of them in memory."""
        return np.concatenate(list(self))


def clip_network(clip: Clip) -> FeatureNetwork:
    """CLIP's unit image embeddings; pictures are cut and resized (bicubic) as CLIP's are."""
    size = clip.config.vision.image_size

    def prepare(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "s s 3"]:
        return to_float(clip_square(image, size))

    def embed(clip: Clip, images: Array) -> Array:
        return unit(clip.embed_images(images))

    name = f"clip-{fingerprint(clip.params)}-{jnp.dtype(clip.dtype).name}"
    return FeatureNetwork(name, prepare, embed, clip)


def features_folder(root: Path, data: str, network: FeatureNetwork) -> Path:
    """Where below `root` the features of the data with fingerprint `data` belong."""
    key = hashlib.sha256(f"{data} {network.name}".encode()).hexdigest()[:24]
    return root / key


def compute_features(
    source: DataSource,
    network: FeatureNetwork,
    folder: Path,
    *,
    batch_size: int = 32,
    progress: bool | None = None,
) -> Features:
    """The features of all pictures of `source`; files that are already in `folder` are kept.

    folder: of these pictures and this network alone, see `features_folder`. batch_size: pictures
    at once on each of the local devices. progress: whether a bar is shown, see
    `core.progress`.

    Raises `ValueError` for no pictures and whatever reading one raises; what was computed stays.
    """
    with showing(progress):
        return _computed(source, network, folder, batch_size)


def _computed(
    source: DataSource, network: FeatureNetwork, folder: Path, batch_size: int
) -> Features:
    count = len(source)
    if count == 0 or batch_size < 1:
        raise ValueError(f"expected pictures and a batch, got {count} and {batch_size}")
    features = Features(folder, count, network.name)
    spans = [range(at, min(at + PART, count)) for at in range(0, count, PART)]
    missing = [n for n, span in enumerate(spans) if not _is_there(part_path(folder, n), len(span))]
    if not missing:
        return features
    mesh = data_mesh()
    params = jax.device_put(network.params, replicated(mesh))
    embed = jax.jit(network.embed)
    done = count - sum(len(spans[part]) for part in missing)
    size = min(batch_size, -(-count // mesh.size)) * mesh.size
    with (
        ThreadPoolExecutor() as pool,
        counter(
            f"{network.name.split('-')[0]} features", total=count, unit="img", done=done
        ) as told,
    ):
        for part in missing:
            blocks = []
            ahead = None  # computed while the next pictures are read
            for start in range(0, len(spans[part]), size):
                indices = spans[part][start : start + size]
                pictures = list(pool.map(lambda i: network.prepare(source[i]["image"]), indices))
                batch = np.stack(filled(pictures, size))
                if ahead is not None:
                    blocks.append(_fetch(*ahead, told))
                ahead = embed(params, split_batch(mesh, batch)), len(indices)
            assert ahead is not None
            blocks.append(_fetch(*ahead, told))
            _write(part_path(folder, part), np.concatenate(blocks))
    return features


def check_features(
    generated: Shaped[np.ndarray, "..."], reference: Shaped[np.ndarray, "..."]
) -> None:
    """Raises `ValueError` for features of different lengths, and numbers that are not finite."""
    for features in (generated, reference):
        if features.ndim != 2:
            raise ValueError(f"features are {list(features.shape)}, expected [N, D]")
        if not np.isfinite(features).all():
            raise ValueError("there are features that are not finite")
    check_widths(generated.shape[1], reference.shape[1])


def check_widths(generated: int, reference: int) -> None:
    """Raises `ValueError` where features have different lengths."""
    if generated != reference:
        raise ValueError(
            f"features of {generated} and {reference} numbers are of different networks"
        )


def part_path(folder: Path, part: int) -> Path:
    """The file of the `part`-th 1024 pictures' features."""
    return folder / f"{part:05d}.npy"


def _fetch(batch: Array, count: int, bar: Any) -> Float[np.ndarray, "n d"]:
    rows = np.asarray(batch, np.float32)[:count]
    if not np.isfinite(rows).all():
        raise ValueError("the network gives features that are not finite: are its weights damaged?")
    bar.update(count)
    return rows


def _is_there(path: Path, count: int) -> bool:
    if not path.is_file():
        return False
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False).shape[0] == count
    except (OSError, ValueError, EOFError) as error:
        logger.warning("computing the unreadable features '%s' again: %s", path, error)
        return False


def _write(path: Path, rows: Float[np.ndarray, "n d"]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    write_whole(path, buffer.getvalue())
