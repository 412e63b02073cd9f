"""The demo's next base model: 448,000 pictures, from the demo's. Its weights are not in it yet.

clipdiff train --config avatars/base_long --workdir runs/avatars-base-long

On patches of 4 pixels a network of v has to pass 48 channels of noise, and what it gets wrong is
grain on the lattice of the patches. Here an analytic skip (`Preconditioned`) leaves it a fifth of
that noise at most: at noise-to-signal ratios above 0.2 it says what the clean picture looks like. A
smaller `data_std` gives less grain, and latents that keep a picture less well. A last narrow stage
at full resolution lets neighbouring patches agree. The start is the demo's base: it predicts noise,
but its faces are formed.

The learning rate is constant but for the last quarter, so a longer run begins as a shorter one did:
raise `train.steps` before the cool-down begins.
"""

from dataclasses import replace

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.diffusion.prediction import Preconditioned
from clipdiff_jax.models import presets
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    before = presets.AVATARS_BASE
    model = replace(
        before,
        unet=replace(before.unet, refine_channels=32),
        prediction=Preconditioned(0.2),
    )
    return RunConfig(
        stage=BaseStage(
            data=AvatarsData(size=64),
            model=model,
            start="demo",
            flip=False,
            weighting="v",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=28_000,
            batch_size=16,
            ema=0.999,
            log_every=50,
            preview_every=2000,
            export_every=500,
            optim=OptimConfig(learning_rate=7e-4, b2=0.99, warmup=500, cooldown=7000),
            checkpoint=CheckpointConfig(every=100),
        ),
    )
