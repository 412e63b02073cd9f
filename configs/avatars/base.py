"""The demo's base model: avatar faces at 64 px, small enough to train on two CPU cores.

clipdiff train --config avatars/base --workdir runs/avatars-base

On patches of 4 pixels a network of v has to pass 48 channels of noise, and what it gets wrong is
grain on the lattice of the patches. Here an analytic skip (`Preconditioned`) leaves it a fifth of
that noise at most: at noise-to-signal ratios above 0.2 it says what the clean picture looks like. A
smaller `data_std` gives less grain, and latents that keep a picture less well. A last narrow stage
at full resolution lets neighbouring patches agree.

The committed weights saw 280,000 pictures: 88,000 as a network of v without the last stage, then
12,000 steps of this recipe, with a cool-down of 3300, on one CPU core. The recipe goes on from them
(`--config.stage.start=null` begins from nothing). Its learning rate is constant but for the last
quarter, so a longer run begins as a shorter one did: `train.steps` may be raised until the
cool-down begins. See docs/results.md for what it draws.
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.models import presets
from clipdiff_jax.pixel.stage import BaseStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=BaseStage(
            data=AvatarsData(size=64),
            model=presets.AVATARS_BASE,
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
