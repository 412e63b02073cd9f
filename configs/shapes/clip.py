"""A CLIP of coloured shapes, whose text tower the shapes' latent model reads.

clipdiff train --config shapes/clip --workdir runs/shapes-clip
"""

from clipdiff_jax.clip.stage import ClipStage
from clipdiff_jax.data.sources import ShapesData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=ClipStage(
            data=ShapesData(count=16000),
            clip=presets.SHAPES_CLIP,
            words=1.0,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=600,
            batch_size=48,
            log_every=20,
            export_every=100,
            optim=OptimConfig(learning_rate=1e-3, schedule="cosine", warmup=50, weight_decay=0.05),
            checkpoint=CheckpointConfig(every=100),
        ),
    )
