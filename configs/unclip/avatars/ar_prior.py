"""The demo's autoregressive prior: the demo CLIP's image embeddings of captions, code by code.

clipdiff train --config unclip/avatars/ar_prior --workdir runs/unclip/ar_prior

Of the 256 dimensions 32 hold 98.7 % of the variance of the embeddings (8192 faces), so a face is
32 codes. The committed weights are this recipe's.
"""

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.ar_prior import ARPriorStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=ARPriorStage(
            data=EmbeddingsData("runs/unclip/embeddings"),
            model=presets.AVATARS_AR_PRIOR,
            fit_examples=8192,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1000,
            batch_size=64,
            ema=0.995,
            log_every=50,
            export_every=500,
            optim=OptimConfig(
                learning_rate=1e-3, b2=0.95, schedule="cosine", warmup=100, weight_decay=0.04
            ),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
