"""Stable Diffusion 1.5 fine-tuned on a folder of pictures with captions: the whole UNet.

clipdiff train --config latent/finetune --workdir runs/finetuned --config.stage.data.path=photos

Another model is named by `--config.stage.start`: a folder of a pipeline, a single file, or a
repository of the Hub (Stable Diffusion 1, 2 or XL). What is exported is opened by `cd.load_latent`.
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
            start="stable-diffusion-v1-5/stable-diffusion-v1-5",
            weighting="min_snr",
            dtype="bfloat16",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=2000,
            batch_size=4,
            log_every=20,
            preview_every=500,
            optim=OptimConfig(learning_rate=1e-5, warmup=100, weight_decay=0.01),
            checkpoint=CheckpointConfig(every=500),
        ),
    )
