"""The inverted pictures an edit is trained on, computed once and kept on disk.

The file's name is a hash of everything the latents depend on: the model's parameters and config
(its schedule and target included), the pixels, and the grid. A changed base model or picture is
therefore another file, never a stale one.
"""

import hashlib
import io
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.config import to_dict
from clipdiff_jax.core.devices import data_mesh, replicated, split_batch
from clipdiff_jax.core.files import cache_dir, write_whole
from clipdiff_jax.core.npz_files import read_npz
from clipdiff_jax.core.progress import counter, showing
from clipdiff_jax.data.images import digest_of
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.inversion import inversion_grid, upwards
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.edit.space import Base, encoded, fingerprint_of, shape_of

logger = logging.getLogger(__name__)

Images = Float32[np.ndarray, "n h w 3"]
Latents = Float32[np.ndarray, "n i j c"]


@dataclass(frozen=True)
class Inversion:
    """Up to where pictures are inverted, and how.

    Attributes:
      t0: time index to invert to.
      steps: times on the way.
      fixed_point: iterations per step that make generation on the same grid undo it, see
        `diffusion.inversion`.
    """

    t0: int
    steps: int
    fixed_point: int = 0

    @property
    def times(self) -> Int[np.ndarray, " n"]:
        """The ascending grid: the paper's, or with iterations all that generation undoes."""
        if self.fixed_point:
            return ddim_grid(self.t0, self.steps)[::-1]
        return inversion_grid(self.t0, self.steps)


def invert_images(
    base: Base,
    images: Images,
    inversion: Inversion,
    *,
    batch_size: int = 8,
    progress: bool | None = None,
    cache: bool = True,
) -> Latents:
    """The latent of each picture, by DDIM inversion with `base`.

    batch_size: pictures at once on each of the local devices. progress: whether bars are shown,
        see `core.progress`. cache: keep the result below `core.files.cache_dir()`.
    """
    path = None
    if cache:
        path = cache_dir() / "latents" / f"{_key(base, images, inversion)}.npz"
        found = _read(path, shape_of(base, len(images)))
        if found is not None:
            return found
    with showing(progress):
        latents = _invert_all(base, images, inversion, batch_size)
    if path is not None:
        _write(path, latents)
    return latents


def _invert_all(base: Base, images: Images, inversion: Inversion, batch_size: int) -> Latents:
    mesh = data_mesh()
    model = jax.device_put(base, replicated(mesh))
    times = inversion.times
    size = min(batch_size, -(-len(images) // mesh.size)) * mesh.size
    parts = []
    with counter("pictures to invert", total=len(images), unit="img") as counted:
        for batch, count in filled_batches(images, size):
            split = split_batch(mesh, batch)
            x0 = as_latents(model, split)
            latent = inverted(model, times, x0, fixed_point=inversion.fixed_point)
            parts.append(np.asarray(latent)[:count])
            counted.update(count)
    return np.concatenate(parts)


as_latents = jax.jit(encoded)


@stepping("inverting", static_argnames="fixed_point")
def inverted(base: Base, times: Array, x0: Array, *, fixed_point: int) -> Steps:
    """What the model denoises -> that at the end of the ascending grid `times`."""
    return upwards(base.denoise, base.config.schedule, times, x0, fixed_point=fixed_point)


def _key(base: Base, images: Images, inversion: Inversion) -> str:
    parts = {
        "model": fingerprint_of(base),
        "config": to_dict(base.config),
        "dtype": jnp.dtype(base.dtype).name,
        "data": [list(images.shape), digest_of(images)],
        "grid": [inversion.t0, inversion.steps, inversion.fixed_point],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path, shape: tuple[int, ...]) -> Latents | None:
    if not path.is_file():
        return None
    try:
        latents = read_npz(path, ("latents",))["latents"]
    except (OSError, ValueError) as error:
        logger.warning("ignoring the unreadable cache '%s': %s", path, error)
        return None
    return latents if latents.shape == shape and latents.dtype == np.float32 else None


def _write(path: Path, latents: Latents) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, latents=latents)
    write_whole(path, buffer.getvalue())
