"""A latent model of coloured shapes: 64 px pictures from captions, in latents of 8 x 8.

clipdiff train --config shapes/clip --workdir runs/shapes-clip
clipdiff train --config shapes/autoencoder --workdir runs/shapes-autoencoder
clipdiff train --config shapes/latent --workdir runs/shapes-latent

Small enough for a laptop, and what it draws can be checked without another network, see
`clipdiff_jax.metrics.shapes`.
"""

from clipdiff_jax.data.sources import ShapesData
from clipdiff_jax.latent.stages.latent import LatentStage
from clipdiff_jax.models import presets
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=LatentStage(
            data=ShapesData(count=8000),
            unet=presets.SHAPES_LATENT,
            autoencoder="runs/shapes-autoencoder",
            clip="runs/shapes-clip",
            image_size=64,
            prediction="v",
            guidance=3.0,
            sampling=OwnSampling(bound=None),
            latents="runs/shapes-latents",
            weighting="min_snr",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=6000,
            batch_size=32,
            ema=0.998,
            log_every=50,
            export_every=250,
            optim=OptimConfig(learning_rate=1e-3, b2=0.99, warmup=100, cooldown=2000),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
