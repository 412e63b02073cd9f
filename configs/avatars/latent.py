"""The latent demo's UNet: avatars of 128 px from captions, in latents of 16 x 16.

clipdiff train --config avatars/autoencoder --workdir runs/avatars-autoencoder
clipdiff train --config avatars/latent --workdir runs/avatars-latent

The latents are computed once, before the first step. The walk begins at the noisiest time and ends
at clean latents, so that no noise is left in a picture.
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.latent.stages.latent import LatentStage
from clipdiff_jax.models import presets
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=LatentStage(
            data=AvatarsData(size=128),
            unet=presets.AVATARS_LATENT,
            autoencoder="runs/avatars-autoencoder",
            clip="demo",
            image_size=128,
            prediction="v",
            guidance=3.0,
            sampling=OwnSampling(bound=None),
            latents="runs/avatars-latents",
            weighting="min_snr",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=20000,
            batch_size=32,
            ema=0.999,
            log_every=50,
            preview_every=500,
            export_every=250,
            optim=OptimConfig(learning_rate=7e-4, b2=0.99, warmup=200, cooldown=5000),
            checkpoint=CheckpointConfig(every=100),
        ),
    )
