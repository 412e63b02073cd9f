"""unCLIP's decoder at full scale: 64 px (Ramesh et al. 2022, section 2.1 and table 3).

clipdiff train --config unclip/paper/decoder --workdir runs/paper/decoder

2.24e9 parameters in the UNet and 1.21e9 in the blocks of its own text encoder (the paper: 3.5B).
Guidance drops the embedding of 10 % of the images and the caption of 50 %. It has not been trained
with this file; `benchmarks/paper_scale.py` compiles its step and says what a device needs.
"""

from dataclasses import replace

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.decoder import DecoderStage


def get_config() -> RunConfig:
    network = replace(presets.PAPER_DECODER.network, remat=True)
    return RunConfig(
        stage=DecoderStage(
            data=FolderData("data/images", on_error="skip"),
            clip="runs/paper/clip",
            embeddings="runs/paper/embeddings",
            model=replace(presets.PAPER_DECODER, network=network),
            drop_image=0.1,
            drop_text=0.5,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=800_000,
            batch_size=2048,
            ema=0.9999,
            workers=16,
            log_every=100,
            preview_every=10_000,
            export_every=10_000,
            optim=OptimConfig(learning_rate=1.2e-4),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=2000, keep=2),
        ),
    )
