"""Models leave this library: the folders that diffusers and transformers read.

The tables of `convert/` run backwards. What the other library's class cannot express is refused
before anything is written, and a folder appears whole or not at all.
"""

from pathlib import Path
from typing import Any

from clipdiff_jax.clip.model import PREPROCESSOR
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.models.clip import CLIPConfig
from clipdiff_jax.models.pixel import DiffusionConfig
from clipdiff_jax.pixel.load import SCHEDULER
from clipdiff_jax.weights.folder import CONFIG_NAME, WEIGHTS_NAME, json_bytes, write_folder
from clipdiff_jax.weights.layouts import clip_transformers, unet_diffusers
from clipdiff_jax.weights.layouts.schedule_diffusers import write_schedule
from clipdiff_jax.weights.tables import export_params

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
_METADATA = {"format": "pt"}  # without it transformers refuses the file


def export_diffusers(path: str | Path, config: DiffusionConfig, params: Any) -> Path:
    """Writes a `UNet2DModel` folder, with the config of a `DDPMScheduler` beside it.

    `UNet2DModel.from_pretrained` reads it, and so does `load_diffusion`, bit for bit. An existing
    folder is replaced. Raises `WeightsError` for a network that `UNet2DModel` cannot be.
    """
    document = unet_diffusers.write_config(config.unet, config.image_size)
    schedule = write_schedule(config.schedule, config.prediction, config.learned_variance)
    files = {CONFIG_NAME: json_bytes(document), SCHEDULER: json_bytes(schedule)}
    tensors = export_params(unet_diffusers.table(config.unet), params)
    return write_folder(path, files, {DIFFUSERS_WEIGHTS: tensors}, _METADATA)


def export_transformers(
    path: str | Path, config: CLIPConfig, params: Any, tokenizer: Tokenizer
) -> Path:
    """Writes a `CLIPModel` folder with its tokenizer and its image processor's config.

    `CLIPModel.from_pretrained` reads it, and so does `load_clip`, bit for bit. An existing folder
    is replaced. Raises `WeightsError` for a CLIP with a convolutional tower.
    """
    document, preprocessor = clip_transformers.write_config(config)
    files = tokenizer.files()
    files |= {CONFIG_NAME: json_bytes(document), PREPROCESSOR: json_bytes(preprocessor)}
    tensors = export_params(clip_transformers.TABLE, params)
    return write_folder(path, files, {WEIGHTS_NAME: tensors}, _METADATA)
