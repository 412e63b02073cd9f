"""The autoregressive prior at the size of the paper (Ramesh et al. 2022, table 3).

    clipdiff embed --config unclip/paper/embed --out runs/paper/embeddings
    clipdiff train --config unclip/paper/ar_prior --workdir runs/paper/ar_prior

8.1e8 parameters. The table has a text encoder of its own beside them (256 tokens, 24 blocks of
width 2048: 1.2e9 more) and a context of 384; here the text comes in as the 77 states of CLIP's, so
that the context is 77 + 2 + 318. It has not been trained with this file.
"""

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.ar_prior import ARPriorStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=ARPriorStage(
            data=EmbeddingsData("runs/paper/embeddings"),
            clip="runs/paper/clip",
            model=presets.PAPER_AR_PRIOR,
            drop_text=0.1,
            remat=True,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1_000_000,
            batch_size=4096,
            ema=0.999,
            workers=8,
            log_every=100,
            export_every=10_000,
            optim=OptimConfig(
                learning_rate=1.6e-4, b1=0.9, b2=0.91, eps=1e-10, weight_decay=4e-2, warmup=5000
            ),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=5000, keep=2, keep_every=100_000),
        ),
    )
