"""Trains tiny stages on N simulated devices and writes losses and parameters.

Run as a script: sharded_run.py DEVICES OUT STAGE:DATA:FSDP ..., where each of the last is a run on
a mesh of DATA x FSDP devices. Its work folder is OUT/STAGE-DATAxFSDP and its arrays are beside it
in an .npz.
Devices have to be simulated before jax starts, hence a process of its own.
"""

import os
import sys

DEVICES = sys.argv[1] if __name__ == "__main__" else "1"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

from pathlib import Path

import jax
import numpy as np

from clipdiff_jax.core.devices import MeshConfig
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.weights.params import flatten
from helpers.tiny_stages import STAGES


def run(stage: str, data: int, fsdp: int, out: Path) -> None:
    config = TrainConfig(
        steps=3,
        batch_size=16,
        accumulate=2,
        ema=0.9,
        log_every=1,
        # Plain enough that float32 rounding is not blown up by dividing by tiny second moments.
        optim=OptimConfig(learning_rate=1e-3, eps=1e-3),
        mesh=MeshConfig(data=data, fsdp=fsdp, min_split=64),
        checkpoint=CheckpointConfig(every=100),
    )
    name = f"{stage}-{data}x{fsdp}"
    state = fit(STAGES[stage](), config, out / name)
    arrays = flatten(jax.tree.map(np.asarray, {"params": state.params, "ema": state.ema}))
    split = sum("fsdp" in str(leaf.sharding.spec) for leaf in jax.tree.leaves(state.params))
    np.savez(out / f"{name}.npz", step=int(state.step), split=split, **arrays)


if __name__ == "__main__":
    for text in sys.argv[3:]:
        stage, data, fsdp = text.split(":")
        run(stage, int(data), int(fsdp), Path(sys.argv[2]))
