"""A pixel diffusion model in diffusers' layout: a `UNet2DModel` and its scheduler's config.

The network lies in the folder itself or, in newer pipelines, in its `unet`; the scheduler beside it
or in `scheduler`. Where there is none the schedule is DDPM's.
"""

import functools
import logging
from pathlib import Path

from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.weights.documents import learns_variance, named, sample_size
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, read_config, write_folder
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.layouts import unet_diffusers
from clipdiff_jax.weights.layouts.schedule_diffusers import (
    SCHEDULER,
    check_variance,
    read_own_sampling,
    read_schedule,
    write_schedule,
)
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, export_params

logger = logging.getLogger(__name__)

WEIGHTS = "diffusion_pytorch_model.safetensors"


def write(path: str | Path, weights: DiffusionWeights) -> Path:
    """Writes a `UNet2DModel` folder, with the config of a `DDPMScheduler` beside it.

    `UNet2DModel.from_pretrained` reads it, and so does `load_diffusion`, bit for bit. An existing
    folder is replaced. Raises `WeightsError` for a network that `UNet2DModel` cannot be, and for
    one that is told another time than the index, which no scheduler of theirs does.
    """
    config, params = weights
    if config.time_scale != 1:
        raise WeightsError(
            f"diffusers' schedulers cannot express this model's time_scale {config.time_scale:g}"
        )
    document = unet_diffusers.write_config(config.unet, config.image_size)
    schedule = write_schedule(
        config.schedule, config.prediction, config.learned_variance, config.sampling
    )
    files = {CONFIG_NAME: json_bytes(document), SCHEDULER: json_bytes(schedule)}
    tensors = export_params(_table(config), params)
    return write_folder(path, files, {WEIGHTS: tensors}, {"format": "pt"})


def _matches(path: Path) -> bool:
    if (path / "unet").is_dir():
        return True
    return (path / CONFIG_NAME).is_file() and "_class_name" in read_config(path)


def _read(path: Path, reading: Reading) -> DiffusionWeights:
    network = path / "unet" if (path / "unet").is_dir() else path
    document = read_config(network)
    with named(network):
        unet, size = unet_diffusers.read_config(document), sample_size(document)
    learned = learns_variance(unet, None, network)
    place = _scheduler(path, network)
    if place is None:
        config = DiffusionConfig(unet, size, learned_variance=learned)
        logger.warning(
            "no %s with '%s': taking DDPM's schedule, and noise for what is predicted; put one "
            "beside it for others",
            SCHEDULER, network,
        )  # fmt: skip
    else:
        scheduler = read_config(place, SCHEDULER)
        with named(place):
            schedule, prediction = read_schedule(scheduler)
            check_variance(scheduler, learned)
            own = read_own_sampling(scheduler)
        config = DiffusionConfig(unet, size, schedule, prediction, learned, sampling=own)
    tensors, init = open_tensors(network), functools.partial(init_params, config)
    return DiffusionWeights(config, fill_params(_table(config), tensors, init, reading.param_dtype))


def _scheduler(path: Path, network: Path) -> Path | None:
    """The folder with the scheduler's config; None where there is none.

    `path` may be the `unet` of a pipeline, whose scheduler lies beside it.
    """
    places = (path, path / "scheduler", network, path.absolute().parent / "scheduler")
    return next((place for place in places if (place / SCHEDULER).is_file()), None)


def _table(config: DiffusionConfig) -> Table:
    return unet_diffusers.table(config.unet)


LAYOUT = Layout(
    "diffusers",
    f"'{CONFIG_NAME}' with a _class_name, nor in 'unet'",
    _matches,
    _read,
    _table,
    write,
)
