"""unCLIP's decoder at full scale: 64 px (Ramesh et al. 2022, section 2.1 and table 3).

python train.py --config configs/unclip/paper/decoder.py --workdir runs/paper/decoder

2.24e9 parameters in the UNet and 1.21e9 in the blocks of its own text encoder (the paper: 3.5B).
Guidance drops the embedding of 10 % of the images and the caption of 50 %. It has not been trained
with this file; `benchmarks/paper_scale.py` compiles its step and says what a device needs.
"""

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.unclip import Decoder
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.stages.decoder import DecoderStage

WIDTH = 2048  # of the time embedding, the context and the text encoder


def get_config() -> RunConfig:
    unet = UNetConfig(
        out_channels=6,
        channels=(512, 1024, 1536, 2048),
        blocks=3,
        attention_levels=(1, 2, 3),
        head_width=64,
        norm_eps=1e-5,
        time_order="cos_sin",
        time_shift=0.0,
        scale_shift=True,
        residual_resampling=True,
        dropout=0.1,
        pooled_width=WIDTH,
        pooled_projection=False,
        context_width=WIDTH,
        remat=True,
    )
    conditioning = DecoderConditioningConfig(
        embedding_width=1024,
        hidden_width=1024,
        pooled_width=WIDTH,
        context_width=WIDTH,
        unit_norm=True,
        text_encoder=TextConfig(
            width=WIDTH, depth=24, heads=32, mlp_width=4 * WIDTH, activation="gelu"
        ),
    )
    return RunConfig(
        stage=DecoderStage(
            data=FolderData("data/images", on_error="skip"),
            clip="runs/paper/clip",
            embeddings="runs/paper/embeddings",
            model=Decoder(unet, conditioning, image_size=64, learned_variance=True),
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
