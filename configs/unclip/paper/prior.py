"""unCLIP's diffusion prior at full scale (Ramesh et al. 2022, table 3).

    clipdiff embed --config unclip/paper/embed --out runs/paper/embeddings
    clipdiff train --config unclip/paper/prior --workdir runs/paper/prior

1.23e9 parameters with the 24 blocks of the table, which calls that 1B; Karlo's has 20 blocks and
1.02e9. The table's text encoder of 256 tokens is this same transformer; here the text comes in as
the 77 states of CLIP's own. It has not been trained with this file.
"""

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.diffusion_prior import DiffusionPriorStage


def get_config() -> RunConfig:
    return RunConfig(
        stage=DiffusionPriorStage(
            data=EmbeddingsData("runs/paper/embeddings"),
            clip="runs/paper/clip",
            model=presets.PAPER_PRIOR,
            remat=True,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=600_000,
            batch_size=4096,
            ema=0.9999,
            workers=8,
            log_every=100,
            export_every=10_000,
            optim=OptimConfig(learning_rate=1.1e-4, b2=0.96, eps=1e-6, weight_decay=6e-2),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=2000, keep=2),
        ),
    )
