"""The shapes' autoencoder: pictures of 64 px to latents of 8 x 8 and back.

clipdiff train --config shapes/autoencoder --workdir runs/shapes-autoencoder
"""

from clipdiff_jax.data.sources import ShapesData
from clipdiff_jax.latent.stages.autoencoder import AutoencoderStage
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=AutoencoderStage(
            data=ShapesData(count=8000, objects=(1, 2, 3)),
            model=presets.SHAPES_AUTOENCODER,
            image_size=64,
            kl_weight=1e-4,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1500,
            batch_size=16,
            ema=0.99,
            log_every=50,
            export_every=250,
            optim=OptimConfig(learning_rate=2e-3, b2=0.99, warmup=50, cooldown=500),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
