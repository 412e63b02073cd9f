"""SDXL fine-tuned on a folder of pictures with captions: a LoRA of rank 16.

clipdiff train --config latent/lora_xl --workdir runs/style --config.stage.data.path=photos

As `latent/lora`, at 1024 px, four pictures a step one after another. With
`--config.stage.latents=FOLDER` pictures are encoded once and not in each step.
"""

from dataclasses import replace
from pathlib import Path

from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.training.config import RunConfig


def get_config() -> RunConfig:
    config = load_config(Path(__file__).with_name("lora.py"), RunConfig)
    stage = replace(config.stage, start="stabilityai/stable-diffusion-xl-base-1.0")
    return replace(config, stage=stage, train=replace(config.train, accumulate=4))
