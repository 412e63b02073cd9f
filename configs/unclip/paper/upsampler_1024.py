"""unCLIP's second upsampler at its full size: 256 to 1024 px (Ramesh et al. 2022, table 3).

clipdiff train --config unclip/paper/upsampler_1024 \
    --workdir runs/unclip/upsampler_1024 --config.stage.data.path=IMAGES

282M parameters with scale and shift from the time, which the paper leaves open; 267M with
--config.stage.model.network.scale_shift=False. It has not been trained with this file. The images
are at least 1024 px a side. Whether the paper degrades them as strongly as BSRGAN does is open too:
--config.stage.degradation.strength=full.
"""

from dataclasses import replace

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.degrade import BSR
from clipdiff_jax.data.sources import FolderData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.upsampler import UpsamplerStage


def get_config() -> RunConfig:
    network = replace(presets.PAPER_UPSAMPLER_1024.network, remat=True)
    return RunConfig(
        stage=UpsamplerStage(
            data=FolderData("data/images"),
            model=replace(presets.PAPER_UPSAMPLER_1024, network=network),
            crop=0.25,
            degradation=BSR("light"),
            dtype="bfloat16",
            preview_count=2,
            preview_steps=15,
        ),
        train=TrainConfig(
            steps=1_000_000,
            batch_size=512,
            ema=0.9999,
            workers=64,
            log_every=100,
            preview_every=5000,
            export_every=10_000,
            optim=OptimConfig(learning_rate=1e-4, b2=0.999, eps=1e-8, warmup=5000),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=5000, keep=2, keep_every=100_000),
        ),
    )
