"""The demo's puzzles: avatar faces in 4 x 4 turned pieces of 16 px.

clipdiff train --config avatars/puzzle_4 --workdir runs/puzzle-4

The committed weights are this recipe's (the first 248 steps at a rate of 1.5e-3): 61,000 puzzles in
five minutes of one core's time. On 600 held-out faces 92.4 % of the pieces are in their place and
turned right, of 93.8 % that an ideal solver can reach where pieces look alike, 54 % of the puzzles
are perfect (of 60 %), and 99.3 % of the cells look right: see docs/reassembly.md.
"""

from clipdiff_jax.data.puzzles import Puzzles
from clipdiff_jax.data.sources import AvatarsData
from clipdiff_jax.models.poses import PosesConfig
from clipdiff_jax.reassembly.stage import PuzzleStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=PuzzleStage(
            data=AvatarsData(size=64, count=20_000, styles=("avataaars",)),
            puzzles=Puzzles(grids=(4,)),
            model=PosesConfig(max_pieces=16),
        ),
        train=TrainConfig(
            steps=1900,
            batch_size=32,
            ema=0.998,
            log_every=100,
            export_every=500,
            optim=OptimConfig(learning_rate=1.2e-3, b2=0.99, warmup=100, cooldown=650),
            checkpoint=CheckpointConfig(every=500),
        ),
    )
