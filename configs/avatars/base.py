"""The demo's base model: avatar faces at 64 px, small enough to train on two CPU cores.

clipdiff train --config avatars/base --workdir runs/avatars-base

The committed weights are this recipe's, 88,000 pictures on two shared CPU cores, begun with fewer
steps and an `ema` of 0.998 that were raised at step 1750. Of 64 samples all are faces, about 40 of
them well formed, under a fine grain: at this size of network and number of steps the loss is still
falling. Inversion keeps pictures all the same, and edits are learned from it: see docs/results.md.
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
            flip=False,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=5500,
            batch_size=16,
            ema=0.999,
            log_every=50,
            preview_every=500,
            export_every=250,
            optim=OptimConfig(learning_rate=7e-4, b2=0.99, schedule="linear", warmup=100),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
