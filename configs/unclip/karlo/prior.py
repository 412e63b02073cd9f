"""Fine-tune Karlo's prior on captions and embeddings of your own, see configs/unclip/karlo/embed.py

clipdiff train --config unclip/karlo/prior --workdir runs/karlo/prior

It has not been trained with this file, only with small weights in the same layout
(`tests/unclip/stages/test_diffusion_prior.py`).
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
            data=EmbeddingsData("runs/karlo/embeddings"),
            clip="openai/clip-vit-large-patch14",
            model=presets.KARLO_PRIOR,
            start="kakaobrain/karlo-v1-alpha",
            remat=True,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=20_000,
            batch_size=128,
            ema=0.9995,
            log_every=50,
            export_every=1000,
            optim=OptimConfig(learning_rate=1e-5, b2=0.96, eps=1e-6, warmup=500),
            checkpoint=CheckpointConfig(every=1000, keep=2),
        ),
    )
