"""Solids in 2 to 4 fragments: boxes without one corner, broken by one or two bumped planes.

clipdiff train --config fragments/corner --workdir runs/fragments

A start for trials, no recipe that works: after its 3,000 steps no fragment of 128 solids is placed
right (docs/reassembly.md).
"""

from dataclasses import replace

from clipdiff_jax.data.fragments import FragmentData
from clipdiff_jax.models.points import PointsConfig
from clipdiff_jax.reassembly.fragment_stage import FRAGMENTS, FragmentStage
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import RunConfig, TrainConfig
from clipdiff_jax.training.optim import OptimConfig


def get_config() -> RunConfig:
    return RunConfig(
        stage=FragmentStage(
            data=FragmentData(count=100_000),
            model=replace(FRAGMENTS, encoder=PointsConfig(points=64)),
            rotation_weight=1.0,
            chamfer_points=24,
        ),
        train=TrainConfig(
            steps=3000,
            batch_size=16,
            ema=0.998,
            log_every=100,
            export_every=500,
            optim=OptimConfig(learning_rate=1e-3, b2=0.99, warmup=100, cooldown=800),
            checkpoint=CheckpointConfig(every=500),
        ),
    )
