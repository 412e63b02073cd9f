"""unCLIP's first upsampler at its full size: 64 to 256 px (Ramesh et al. 2022, table 3).

clipdiff train --config unclip/paper/upsampler_256 --workdir runs/unclip/upsampler \
    --config.stage.data.path=IMAGES

730M parameters with scale and shift from the time, which the paper leaves open; 692M with
--config.stage.model.network.scale_shift=False. It has not been trained with this file. Other data
of at least 256 px a side, such as tensorflow-datasets', takes the place of the folder. The 1024
pictures of a batch are spread over all devices, and the parameters over each eight of them.
"""

from dataclasses import replace

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.degrade import Blur
from clipdiff_jax.data.sources import FolderData
from clipdiff_jax.models import presets
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.upsampler import UpsamplerStage


def get_config() -> RunConfig:
    network = replace(presets.PAPER_UPSAMPLER_256.network, remat=True)
    return RunConfig(
        stage=UpsamplerStage(
            data=FolderData("data/images"),
            model=replace(presets.PAPER_UPSAMPLER_256, network=network),
            crop=0.25,
            degradation=Blur(kernel=3, sigma=0.6),
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=1_000_000,
            batch_size=1024,
            ema=0.9999,
            workers=32,
            log_every=100,
            preview_every=5000,
            export_every=10_000,
            optim=OptimConfig(learning_rate=1.2e-4, b2=0.999, eps=1e-8, warmup=5000),
            mesh=MeshConfig(fsdp=8),
            checkpoint=CheckpointConfig(every=5000, keep=2, keep_every=100_000),
        ),
    )
