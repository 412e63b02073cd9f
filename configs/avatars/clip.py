"""The demo's CLIP: a small convolutional tower and a small text tower, trained on avatars.

python train.py --config configs/avatars/clip.py --workdir runs/avatars-clip
"""

from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.models.clip import CLIPConfig, TextConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.stages import RunConfig
from clipdiff_jax.stages.clip import ClipStage
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.loop import TrainConfig
from clipdiff_jax.train.optim import OptimConfig


def get_config() -> RunConfig:
    vision = ModifiedResNetConfig(
        image_size=64,
        width=128,
        depths=(1, 1, 1),
        expansion=1,
        stem="space_to_depth",
        pool="dense",
        norm="group",
        norm_groups=16,
    )
    text = TextConfig(
        vocab_size=1024,
        context_length=32,
        width=128,
        depth=3,
        heads=2,
        mlp_width=512,
        activation="gelu",
        eos_token_id=1,
    )
    return RunConfig(
        stage=ClipStage(
            data=AvatarsData(size=64),
            clip=CLIPConfig(
                vision,
                text,
                projection_dim=256,
                image_mean=(0.5, 0.5, 0.5),
                image_std=(0.5, 0.5, 0.5),
            ),
            crop=0.9,
            noise=0.03,
            group_by=("style", "hair_color", "skin"),
            group_size=4,
            export_dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=900,
            batch_size=16,
            ema=0.995,
            log_every=50,
            export_every=250,
            optim=OptimConfig(
                learning_rate=1e-3,
                schedule="cosine",
                warmup=50,
                weight_decay=0.05,
            ),
            checkpoint=CheckpointConfig(every=250),
        ),
    )
