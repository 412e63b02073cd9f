"""Edit: serious faces smile.

    python train.py --config configs/avatars/edit_smile.py --workdir runs/smile
    python evaluate.py counterfactual --edit runs/smile --attribute mouth --target smile \\
        --sources serious --count 200 --out runs/smile/scores

On 200 held-out faces: success 90.5 %, other attributes kept 99.8 %, PSNR inside 16.1 dB (unedited
13.6), outside 31.9. The judge matters most: with a CLIP that told a smile from the other mouths in
60 % of faces rather than 81 %, the most that was counted was 17 %, at 27.6 dB outside.
"""

from clipdiff_jax.data.avatars import AvatarsData
from clipdiff_jax.stages import EditStage, RunConfig
from clipdiff_jax.stages.edit import EditObjective
from clipdiff_jax.train.checkpoint import CheckpointConfig
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.optim import OptimConfig

IMAGES, BATCH, PASSES = 32, 4, 10


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
                noise=3.0,
                length=1.5,
                wanted_length=0.75,
                augmentations=4,
            ),
        ),
        train=TrainConfig(
            steps=steps,
            batch_size=BATCH,
            log_every=5,
            preview_every=steps,
            optim=OptimConfig(learning_rate=8e-5, schedule="linear", warmup=0),
            checkpoint=CheckpointConfig(every=steps, keep=1),
        ),
    )
