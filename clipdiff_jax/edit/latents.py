"""The inverted pictures an edit is trained on, computed once and kept on disk.

The file's name is a hash of everything the latents depend on: the model's parameters and config
(its schedule and target included), the pixels, and the grid. A changed base model or picture is
therefore another file, never a stale one.
"""

import functools
import hashlib
import io
import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float32
from tqdm.auto import tqdm

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.config import to_dict
from clipdiff_jax.core.files import cache_dir, write_whole
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.inversion import inversion_grid, invert
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import fingerprint

logger = logging.getLogger(__name__)

Images = Float32[np.ndarray, "n h w c"]


def invert_images(
    base: Diffusion,
    images: Images,
    *,
    t0: int,
    steps: int,
    fixed_point: int = 0,
    batch_size: int = 8,
    progress: bool = True,
    cache: bool = True,
) -> Images:
    """The latent at t0 of each picture, by DDIM inversion with `base` over `steps` times.

    fixed_point: iterations a step that make generation on the same grid undo it, see
        `diffusion.inversion`. batch_size: pictures at once on each of the local devices.
    progress: show a bar. cache: keep the result below `data.avatars.cache_dir()`.
    """
    path = None
    if cache:
        key = _key(base, images, t0, steps, fixed_point)
        path = cache_dir() / "latents" / f"{key}.npz"
        found = _read(path, images.shape)
        if found is not None:
            return found
    latents = _invert_all(base, images, t0, steps, fixed_point, batch_size, progress)
    if path is not None:
        _write(path, latents)
    return latents


def time_grid(t0: int, steps: int, fixed_point: int) -> np.ndarray:
    """The ascending times of an inversion: the paper's, or all that generation undoes."""
    return ddim_grid(t0, steps)[::-1] if fixed_point else inversion_grid(t0, steps)


def _invert_all(
    base: Diffusion,
    images: Images,
    t0: int,
    steps: int,
    fixed_point: int,
    batch_size: int,
    progress: bool,
) -> Images:
    mesh = Mesh(np.asarray(jax.local_devices()), ("data",))
    params = jax.device_put(base.params, NamedSharding(mesh, PartitionSpec()))
    split = NamedSharding(mesh, PartitionSpec("data"))
    times = time_grid(t0, steps, fixed_point)
    size = min(batch_size, -(-len(images) // mesh.size)) * mesh.size
    parts = []
    with tqdm(total=len(images), desc="inverting", unit="img", disable=not progress) as bar:
        for batch, count in filled_batches(images, size):
            latent = _invert_batch(
                base.config, base.dtype, fixed_point, params, times, jax.device_put(batch, split)
            )
            parts.append(np.asarray(latent)[:count])
            bar.update(count)
    return np.concatenate(parts)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _invert_batch(
    config: DiffusionConfig, dtype: Any, fixed_point: int, params: Any, times: Array, x0: Array
) -> Array:
    denoise = Diffusion(config, params, dtype).denoise
    return invert(denoise, config.schedule, times, x0, fixed_point=fixed_point)


def _key(base: Diffusion, images: Images, t0: int, steps: int, fixed_point: int) -> str:
    pixels = hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()
    parts = {
        "model": fingerprint(base.params),
        "config": to_dict(base.config),
        "dtype": jnp.dtype(base.dtype).name,
        "data": [list(images.shape), pixels],
        "grid": [t0, steps, fixed_point],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path, shape: tuple[int, ...]) -> Images | None:
    if not path.is_file():
        return None
    try:
        with np.load(path) as stored:
            latents = stored["latents"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logger.warning("ignoring the unreadable cache '%s': %s", path, error)
        return None
    return latents if latents.shape == shape and latents.dtype == np.float32 else None


def _write(path: Path, latents: Images) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, latents=latents)
    write_whole(path, buffer.getvalue())
