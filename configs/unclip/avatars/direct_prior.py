"""The demo's prior without diffusion: the demo CLIP's image embeddings of captions at once.

clipdiff train --config unclip/avatars/direct_prior --workdir runs/unclip/direct_prior

The committed weights are this recipe's.
"""

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.direct_prior import DirectPriorStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=DirectPriorStage(
            data=EmbeddingsData("runs/unclip/embeddings"),
            model=presets.AVATARS_DIRECT_PRIOR,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1200,
            batch_size=64,
            ema=0.995,
            log_every=50,
            export_every=500,
            optim=OptimConfig(
                learning_rate=1e-3, b2=0.98, schedule="cosine", warmup=100, weight_decay=0.02
            ),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
