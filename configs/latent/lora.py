"""Stable Diffusion 1.5 fine-tuned on a folder of pictures with captions: a LoRA of rank 16.

clipdiff train --config latent/lora --workdir runs/style --config.stage.data.path=photos

Another model is named by `--config.stage.start`, as for `latent/finetune`. The result is a few
megabytes in diffusers' names: `cd.load_latent(start, loras="runs/style")` here,
`pipeline.load_lora_weights("runs/style/model")` there.
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
