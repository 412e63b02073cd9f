"""Loads and saves pixel diffusion models, from whichever layout they lie in."""

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import demo_folder, load_folder
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading
from clipdiff_jax.weights.layouts import pixel_ddpm, pixel_guided, pixel_ours
from clipdiff_jax.weights.layouts.pixel import LAYOUTS
from clipdiff_jax.weights.loading import check_part, find_model, read_first
from clipdiff_jax.weights.params import fingerprint

_WITH_FLAGS = (pixel_guided.LAYOUT, pixel_ddpm.LAYOUT)


def save_diffusion(
    path: str | Path, config: DiffusionConfig, params: Params, *, dtype: DType | None = None
) -> None:
    """Writes the model folder that `load_diffusion` reads; floating-point arrays become `dtype`."""
    pixel_ours.write(path, DiffusionWeights(config, params), dtype)


def is_demo(model: object) -> bool:
    """Whether a model is the built-in one, by its parameters; they are read and hashed for it."""
    if not isinstance(model, Diffusion):
        return False
    _, params = load_folder(demo_folder("base"), jnp.float32)
    return model.fingerprint == fingerprint(params)


def load_diffusion(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType = jnp.float32,
    revision: str | None = None,
    flags: GuidedFlags | None = None,
    part: str | None = None,
    layouts: Sequence[Layout[DiffusionConfig, DiffusionWeights]] = LAYOUTS,
) -> Diffusion:
    """Loads a model.

    Args:
      source: "demo" (avatar faces at 64 px); one of our model folders or the work folder of a run;
        the folder of a diffusers `UNet2DModel` or of a pipeline with one; a file (`.ckpt`, `.pt`,
        `.safetensors` ...) with the names of the original DDPM or of guided-diffusion; or a
        repository of the Hugging Face Hub in diffusers' layout, such as "google/ddpm-celebahq-256".
      dtype: what the network computes in.
      param_dtype: what parameters are kept in.
      revision: of a repository on the Hub.
      flags: for a file whose training had others than the defaults, such as
        `GuidedFlags(num_heads=4)`: nothing in the file tells.
      part: which of several state dicts a file holds: "ema" of {"model": .., "ema": ..}, "4" of a
        list, "ema_model" of names with that prefix. Needed where there are several.
      layouts: which are tried, in this order; add one of your own, see `weights.layout`.

    Where a source has no schedule beside its network it is DDPM's (Ho et al. 2020): 1000 linear
    betas, noise as the target. Raises `WeightsError` if there is no such model, or it is incomplete
    or of another kind.
    """
    path = find_model(source, "base", revision=revision)
    if flags is not None and not any(one.matches(path) for one in _WITH_FLAGS):
        found = "has a config" if path.is_dir() else "has not guided-diffusion's names, nor DDPM's"
        raise WeightsError(f"'{path}' {found}: `flags` are for a file of weights alone")
    check_part(path, part)
    reading = Reading(param_dtype=param_dtype, flags=flags, part=part)
    config, params = read_first(layouts, path, reading)
    return Diffusion(config, params, dtype)
