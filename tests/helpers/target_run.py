"""Compiles each tiny stage's train step for a target and says what came of it, as JSON.

Run as a script: target_run.py TARGET STAGE:DTYPE:FSDP ... , in the environment that the target's
compiler needs (`clipdiff_jax.training.targets.compilers.environment`).
"""

import json
import sys

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.targets.names import read_target
from clipdiff_jax.training.targets.training import describe_step
from helpers.tiny_stages import STAGES


def run(target: str, stage: str, dtype: str, fsdp: int) -> dict:
    mesh = MeshConfig(fsdp=fsdp, min_split=64)
    train = TrainConfig(steps=3, batch_size=16, accumulate=2, ema=0.9, mesh=mesh)
    described = describe_step(STAGES[stage](dtype), train, read_target(target))
    return {key: described[key] for key in ("fits", "collectives", "counts", "memory")}


if __name__ == "__main__":
    for text in sys.argv[2:]:
        stage, dtype, fsdp = text.split(":")
        print(json.dumps({text: run(sys.argv[1], stage, dtype, int(fsdp))}), flush=True)
