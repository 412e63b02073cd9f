"""Edit: serious faces smile.

    python train.py --config configs/avatars/edit_smile.py --workdir runs/smile
    python evaluate.py counterfactual --edit runs/smile --attribute mouth --target smile \\
        --sources serious --count 200 --out runs/smile/scores

Not yet learned with the committed demo CLIP, which cannot tell a smile from a serious mouth
(zero-shot 26 % of four mouths): give --config.stage.clip a better one first. Not measured.
"""

from clipdiff_jax.data.avatars import AvatarsData
from clipdiff_jax.stages import EditStage, RunConfig
from clipdiff_jax.stages.edit import EditObjective
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.loop import TrainConfig
from clipdiff_jax.train.optim import OptimConfig

IMAGES, BATCH, PASSES = 32, 4, 5


def get_config() -> RunConfig:
    steps = PASSES * IMAGES // BATCH
    return RunConfig(
        stage=EditStage(
            data=AvatarsData(size=64, count=2000),
            only=("style=avataaars", "mouth=serious"),
            images=IMAGES,
            objective=EditObjective(
                source_text="serious",
                target_text="smiling",
                templates=("a {} face", "a {} person", "a {} portrait", "a {} character"),
                t0=500,
                l1=3.0,
                noise=2.0,
                augmentations=4,
            ),
        ),
        train=TrainConfig(
            steps=steps,
            batch_size=BATCH,
            log_every=5,
            preview_every=steps,
            optim=OptimConfig(learning_rate=5e-5),
            checkpoint=CheckpointConfig(every=steps, keep=1),
        ),
    )
