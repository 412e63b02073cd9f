"""unCLIP's CLIP at full scale: ViT-H/16 at 256 px (Ramesh et al. 2022, appendix C and table 3).

clipdiff train --config unclip/paper/clip --workdir runs/paper/clip

Parameters are split over eight devices, and the batch is embedded in sixteen parts, so that it fits
80 GB (docs/targets.md). It has not been trained with this file.
"""

from clipdiff_jax.clip.stage import ClipStage
from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=ClipStage(
            data=FolderData("data/images"),
            clip=presets.PAPER_CLIP,
            tokenizer="openai/clip-vit-large-patch14",
            remat=True,
            parts=16,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=500_000,
            batch_size=32_768,
            ema=0.999,
            workers=16,
            log_every=100,
            export_every=10_000,
            optim=OptimConfig(
                learning_rate=3e-4,
                schedule="cosine",
                warmup=2000,
                b2=0.98,
                eps=1e-6,
                weight_decay=0.2,
                sam_rho=0.1,
            ),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=2000, keep=2),
        ),
    )
