"""The demo's diffusion prior: from captions to the demo CLIP's image embeddings.

clipdiff train --config unclip/avatars/prior --workdir runs/unclip/prior

The committed weights are this recipe's; Gamma was estimated afterwards, from the exported network.
"""

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.diffusion_prior import DiffusionPriorStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=DiffusionPriorStage(
            data=EmbeddingsData("runs/unclip/embeddings"),
            model=presets.AVATARS_PRIOR,
            gamma_times=64,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1500,
            batch_size=64,
            ema=0.995,
            log_every=100,
            export_every=500,
            optim=OptimConfig(
                learning_rate=1e-3, b2=0.96, schedule="cosine", warmup=100, weight_decay=0.06
            ),
            checkpoint=CheckpointConfig(every=500),
        ),
    )
