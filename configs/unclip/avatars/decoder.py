"""The demo's decoder: avatar faces at 64 px from CLIP image embeddings and captions.

clipdiff train --config unclip/avatars/decoder --workdir runs/unclip/decoder

The committed weights are this recipe's, 52 minutes of one CPU core (begun with 3000 steps that were
cut to 2200 at step 251), and then 81 minutes more from there:

clipdiff train --config unclip/avatars/decoder --workdir runs/unclip/decoder \\
    --config.stage.start=demo --config.stage.start_base= --config.train.steps=4900 \\
    --config.train.optim.learning_rate=4e-4

(begun with 7000 steps, cut to 5500 at step 2741 and to 4900 at step 4450). 113,600 pictures in all.
See docs/results.md for what it draws.
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.decoder import DecoderStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=DecoderStage(
            data=AvatarsData(size=64),
            embeddings="runs/unclip/embeddings",
            model=presets.AVATARS_DECODER,
            start_base="demo",
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=2200,
            batch_size=16,
            ema=0.999,
            log_every=50,
            preview_every=250,
            export_every=250,
            optim=OptimConfig(learning_rate=5e-4, b2=0.99, schedule="linear", warmup=100),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
