"""Edit: cartoon faces become pixel art.

    python train.py --config configs/avatars/edit_pixel_art.py --workdir runs/pixel-art
    python evaluate.py counterfactual --edit runs/pixel-art --attribute style --target pixel-art \\
        --sources avataaars --count 200 --out runs/pixel-art/scores

Fails with the committed demo models: the similarity to the text's direction rises from .21 to .73
while what appears is a haze that only CLIP sees (docs/results.md).
"""

from clipdiff_jax.data.avatars import AvatarsData
from clipdiff_jax.stages import EditStage, RunConfig
from clipdiff_jax.stages.edit import EditObjective
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.optim import OptimConfig

IMAGES, BATCH, PASSES = 32, 4, 5


def get_config() -> RunConfig:
    steps = PASSES * IMAGES // BATCH
    return RunConfig(
        stage=EditStage(
            data=AvatarsData(size=64, count=2000),
            only=("style=avataaars",),
            images=IMAGES,
            objective=EditObjective(
                source_text="a cartoon",
                target_text="pixel art",
                templates=("{} of a face", "{} of a person", "{} of a character"),
                t0=700,
                l1=1.0,
                noise=0.0,
                augmentations=4,
            ),
        ),
        train=TrainConfig(
            steps=steps,
            batch_size=BATCH,
            log_every=5,
            preview_every=steps,
            optim=OptimConfig(learning_rate=1e-4),
            checkpoint=CheckpointConfig(every=steps, keep=1),
        ),
    )
