"""Loads and saves pixel diffusion models, from whichever layout they lie in."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.documents import named, sample_size
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import (
    demo_folder,
    is_our_folder,
    load_folder,
    model_folder,
    read_config,
    save_folder,
)
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layouts import unet_ddpm, unet_diffusers, unet_guided
from clipdiff_jax.weights.layouts.schedule_diffusers import read_schedule
from clipdiff_jax.weights.layouts.unet_guided import GuidedFlags
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.read import Tensors, open_tensors
from clipdiff_jax.weights.tables import Table, import_params

KIND = "diffusion"
DEMO = "demo"
SCHEDULER = "scheduler_config.json"


def save_diffusion(
    path: str | Path, config: DiffusionConfig, params: Params, *, dtype: DType = None
) -> None:
    """Writes the model folder that `load_diffusion` reads."""
    save_folder(path, {"kind": KIND, "model": to_dict(config)}, params, dtype)


def read_diffusion(
    source: str | Path,
    *,
    param_dtype: DType = jnp.float32,
    revision: str | None = None,
    flags: GuidedFlags | None = None,
) -> tuple[DiffusionConfig, Params]:
    """Config and parameters of what `load_diffusion` takes."""
    path = (
        demo_folder("base") if source == DEMO else model_folder(locate(source, revision=revision))
    )
    if path.is_file():
        return _read_file(path, param_dtype, flags)
    if flags is not None:
        raise WeightsError(f"'{path}' has a config: `flags` are for a file of guided-diffusion's")
    if not is_our_folder(path):
        return _read_diffusers(path, param_dtype)
    document, params = load_folder(path, param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    return from_dict(DiffusionConfig, document["model"]), jax.tree.map(jnp.asarray, params)


def load_diffusion(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType = jnp.float32,
    revision: str | None = None,
    flags: GuidedFlags | None = None,
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
      flags: for a file of guided-diffusion or improved-diffusion whose training had others than
        the defaults, such as `GuidedFlags(num_heads=4)`: nothing in the file tells.

    Where a source has no schedule beside its network it is DDPM's (Ho et al. 2020): 1000 linear
    betas, noise as the target. Raises `WeightsError` if there is no such model, or it is incomplete
    or of another kind.
    """
    config, params = read_diffusion(source, param_dtype=param_dtype, revision=revision, flags=flags)
    return Diffusion(config, params, dtype)


def _read_diffusers(folder: Path, param_dtype: DType) -> tuple[DiffusionConfig, Params]:
    """A `UNet2DModel` in `folder` itself or, in newer pipelines, in its `unet`."""
    network = folder / "unet" if (folder / "unet").is_dir() else folder
    document = read_config(network)
    with named(network):
        unet, size = unet_diffusers.read_config(document), sample_size(document)
    places = (folder, folder / "scheduler", network)
    found = [place for place in places if (place / SCHEDULER).is_file()]
    schedule, prediction = read_schedule(read_config(found[0], SCHEDULER) if found else {})
    config = DiffusionConfig(unet, size, schedule, prediction, _has_variance(unet))
    return config, _import(unet_diffusers.table(unet), open_tensors(network), config, param_dtype)


def _read_file(
    file: Path, param_dtype: DType, flags: GuidedFlags | None
) -> tuple[DiffusionConfig, Params]:
    """Weights alone: the architecture is read off their names and shapes."""
    tensors = open_tensors(file)
    shapes = {name: array.shape for name, array in tensors.items()}
    if unet_guided.MARK in shapes:
        return _read_guided(tensors, shapes, param_dtype, flags or GuidedFlags())
    if flags is not None:
        raise WeightsError(f"'{file}' has not guided-diffusion's names, which `flags` are for")
    unet = unet_ddpm.infer_config(shapes)
    size = unet_ddpm.infer_size(unet)
    config = DiffusionConfig(unet, size, learned_variance=_has_variance(unet))
    return config, _import(unet_ddpm.TABLE, tensors, config, param_dtype)


def _read_guided(
    tensors: Tensors, shapes: dict[str, tuple[int, ...]], param_dtype: DType, flags: GuidedFlags
) -> tuple[DiffusionConfig, Params]:
    unet = unet_guided.infer_config(
        shapes, head_width=flags.num_head_channels, heads=flags.num_heads
    )
    config = DiffusionConfig(
        unet,
        flags.image_size or unet_guided.infer_size(unet),
        flags.schedule,
        learned_variance=_has_variance(unet),
        time_scale=flags.time_scale,
    )
    table = unet_guided.table(unet, flags.new_attention_order)
    return config, _import(table, tensors, config, param_dtype)


def _has_variance(unet: UNetConfig) -> bool:
    return unet.out_channels == 2 * unet.in_channels


def _import(table: Table, tensors: Any, config: DiffusionConfig, param_dtype: DType) -> Any:
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return import_params(table, tensors, shapes, dtype=param_dtype, place=on_device)
