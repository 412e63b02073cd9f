"""SDXL fine-tuned on a folder of pictures with captions: a LoRA of rank 16.

clipdiff train --config latent/lora_xl --workdir runs/style --config.stage.data.path=photos

As `latent/lora`, at 1024 px, four pictures a step one after another. With
`--config.stage.latents=FOLDER` pictures are encoded once and not in each step.
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
            start="stabilityai/stable-diffusion-xl-base-1.0",
            lora=16,
            weighting="min_snr",
            dtype="bfloat16",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1000,
            batch_size=4,
            accumulate=4,
            log_every=20,
            preview_every=250,
            optim=OptimConfig(learning_rate=1e-4, warmup=50, weight_decay=0.01),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
