"""Faces in 6 x 6 to 12 x 12 turned pieces of 32 px, one model for all, as in DiffAssemble.

    clipdiff data prepare celeb_a_hq/256   # once; the pictures have to be obtained by hand first
    clipdiff train --config celebahq/puzzle_6_12 --workdir runs/puzzle-6-12

Pieces are seen by group convolutions of ResNet-18's shape. Otherwise than in the paper the blocks
have norms and residuals, the network is told the grid, and AdamW takes the place of Adafactor. It
has not been trained with this file. Compiled for one H100 a step takes 12.1 GB.
"""

from clipdiff_jax.data.puzzles import Puzzles
from clipdiff_jax.data.tfds_source import TfdsData
from clipdiff_jax.models.pieces import SquaresConfig
from clipdiff_jax.models.poses import PosesConfig
from clipdiff_jax.reassembly.stage import PuzzleStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=PuzzleStage(
            data=TfdsData(name="celeb_a_hq/256", split="train[:80%]"),
            puzzles=Puzzles(grids=(6, 8, 10, 12)),
            model=PosesConfig(
                SquaresConfig(piece=32, kind="group", features=1088),
                width=512,
                depth=8,
                heads=8,
                mlp_width=2048,
                max_pieces=144,
            ),
            dtype="bfloat16",
        ),
        train=TrainConfig(
            steps=300_000,
            batch_size=16,
            ema=0.9999,
            workers=8,
            log_every=100,
            preview_every=5000,
            export_every=10_000,
            optim=OptimConfig(
                learning_rate=3e-4, schedule="cosine", warmup=2000, weight_decay=0.01
            ),
            checkpoint=CheckpointConfig(every=5000),
        ),
    )
