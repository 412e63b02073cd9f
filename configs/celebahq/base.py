"""The paper's base model: DDPM on CelebA-HQ at 256 px, 70 % of the pictures for training.

    clipdiff data prepare celeb_a_hq/256   # once; the pictures have to be obtained by hand first
    clipdiff train --config celebahq/base --workdir runs/celebahq-base

The network is that of `google/ddpm-celebahq-256` (113.7M parameters) and the recipe DDPM's
(Ho et al. 2020, appendix B). It has not been trained with this file; the published weights of the
same network are what most will start from. Several GPUs share a batch as they are; to split the
parameters too, add --config.train.mesh.fsdp=8.
"""

from dataclasses import replace

from clipdiff_jax.data.tfds_source import TfdsData
from clipdiff_jax.models import presets
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    network = replace(presets.DDPM_256.unet, remat=True)
    return RunConfig(
        stage=BaseStage(
            data=TfdsData(name="celeb_a_hq/256", split="train[:70%]"),
            model=replace(presets.DDPM_256, unet=network),
            flip=True,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=500_000,
            batch_size=64,
            ema=0.9999,
            workers=8,
            log_every=100,
            preview_every=5000,
            export_every=10_000,
            optim=OptimConfig(learning_rate=2e-5, warmup=5000),
            checkpoint=CheckpointConfig(every=5000, keep=2, keep_every=100_000),
        ),
    )
