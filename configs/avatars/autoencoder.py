"""The latent demo's autoencoder: avatars of 128 px to latents of 16 x 16 and back.

clipdiff train --config avatars/autoencoder --workdir runs/avatars-autoencoder

A patch of 8 x 8 pixels is folded into channels, so that all convolutions run on 16 x 16 positions:
on CPUs wide ones there are fast, and narrow ones at the full resolution slow.
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.latent.stages.autoencoder import AutoencoderStage
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=AutoencoderStage(
            data=AvatarsData(size=128),
            model=presets.AVATARS_AUTOENCODER,
            image_size=128,
            kl_weight=3e-4,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=12000,
            batch_size=16,
            ema=0.999,
            log_every=50,
            preview_every=500,
            export_every=250,
            optim=OptimConfig(learning_rate=1e-3, b2=0.99, warmup=100, cooldown=3000),
            checkpoint=CheckpointConfig(every=100),
        ),
    )
