"""The paper's edit of CelebA-HQ faces at 256 px, with the released code's defaults.

    clipdiff train --config celebahq/edit --workdir runs/celebahq-smile
    clipdiff edit photos/ --model google/ddpm-celebahq-256 --edit runs/celebahq-smile \\
        --steps 40 --out edited

50 pictures, 5 passes, one picture per step: 40 steps of inversion (cached), 6 of generation, Adam
at 8e-6 times 1.3 after every pass, loss 3 L_dir (log form) + L1. Other edits are two texts and a
time away; the released models used

    source  target                  t0      source  target                           t0
    face    tanned face             201     person  person with curly hair           401
    person  person with makeup      301     human   3D render in the style of Pixar  601
    person  person without makeup   301     human   Neanderthal                      601
    person  male                    401     photo   painting by Gogh, sketch         601

as in

    --config.stage.objective.source_text=face --config.stage.objective.target_text="tanned face" \\
    --config.stage.objective.t0=201

For less memory: --config.stage.objective.mode=single_step (the paper's "GPU-efficient" mode: 6
updates per picture, so also --config.train.optim.pass_updates=300), --config.stage.dtype=bfloat16.
With more devices: --config.train.batch_size=8 (a multiple of their number), and steps and
pass_updates divided by 8. To keep the person:
--config.stage.objective.identity=0.3 --config.stage.face=model_ir_se50.pth. The pictures are
tensorflow-datasets' `celeb_a_hq/256`; a folder of your own does as well. No result is claimed
here: this file has not been run on the real weights.
"""

from clipdiff_jax.data.tfds_source import TfdsData
from clipdiff_jax.edit.stage import EditObjective, EditStage
from clipdiff_jax.perceptual.templates import IMAGENET_TEMPLATES
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig

IMAGES, PASSES = 50, 5


def get_config() -> RunConfig:
    return RunConfig(
        stage=EditStage(
            data=TfdsData(name="celeb_a_hq/256", split="train[:70%]"),
            base="google/ddpm-celebahq-256",
            clip="openai/clip-vit-base-patch16",
            images=IMAGES,
            objective=EditObjective(
                source_text="face",
                target_text="smiling face",
                templates=IMAGENET_TEMPLATES,
                t0=400,
                invert_steps=40,
                train_steps=6,
                directional=3.0,
                form="log",
                l1=1.0,
            ),
        ),
        train=TrainConfig(
            steps=PASSES * IMAGES,
            batch_size=1,
            log_every=10,
            preview_every=IMAGES,
            optim=OptimConfig(
                learning_rate=8e-6,
                clip_norm=None,
                schedule="passes",
                pass_gain=1.3,
                pass_updates=IMAGES,
            ),
            checkpoint=CheckpointConfig(every=IMAGES, keep=1),
        ),
    )
