"""The demo's base model: avatar faces at 64 px, small enough to train on two CPU cores.

python train.py --config configs/avatars/base.py --workdir runs/avatars-base

The committed weights are this recipe's, 28,000 pictures on two shared CPU cores; `train.steps` was
lowered from 3200 to 1750 on the way, so the learning rate fell in jumps. They are undertrained (the
loss was still falling): samples are recognisable faces under a grain of noise, none of 64 clean.
Inversion keeps pictures all the same, and edits can be learned from it: see docs/results.md. More
steps are the first thing to give it where there is a GPU.
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.pipelines.diffusion import DiffusionConfig
from clipdiff_jax.stages import BaseStage, RunConfig
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.loop import TrainConfig
from clipdiff_jax.train.optim import OptimConfig


def get_config() -> RunConfig:
    unet = UNetConfig(
        channels=(96, 192),
        blocks=1,
        attention_levels=(1,),
        head_width=64,
        patch=4,
        input_skip=True,
        scale_shift=True,
    )
    return RunConfig(
        stage=BaseStage(
            data=AvatarsData(size=64),
            model=DiffusionConfig(unet=unet, image_size=64, prediction="v"),
            flip=False,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1750,
            batch_size=16,
            ema=0.998,
            log_every=50,
            preview_every=500,
            export_every=250,
            optim=OptimConfig(learning_rate=7e-4, b2=0.99, schedule="linear", warmup=100),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
