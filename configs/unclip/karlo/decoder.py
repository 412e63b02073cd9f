"""Fine-tune Karlo's decoder on captioned images of your own.

    clipdiff train --config unclip/karlo/decoder --workdir runs/karlo/decoder \
        --config.stage.data.path=FOLDER

The embeddings are those of OpenAI's ViT-L/14, computed in each step; images and captions as
`FolderData` describes. The weights are fetched from the Hub on first use. It has not been trained
with this file, only with small weights in the same layout (`tests/unclip/stages/test_decoder.py`).
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
    network = replace(presets.KARLO_DECODER.network, remat=True)
    return RunConfig(
        stage=DecoderStage(
            data=FolderData("data/images", on_error="skip"),
            clip="openai/clip-vit-large-patch14",
            model=replace(presets.KARLO_DECODER, network=network),
            start="kakaobrain/karlo-v1-alpha",
            flip=False,
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=20_000,
            batch_size=64,
            ema=0.9995,
            workers=4,
            log_every=50,
            preview_every=1000,
            export_every=1000,
            optim=OptimConfig(learning_rate=1e-5, warmup=500),
            mesh=MeshConfig(fsdp=1),
            checkpoint=CheckpointConfig(every=1000, keep=2),
        ),
    )
