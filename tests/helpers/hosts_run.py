"""One of several processes that train a tiny stage together, as the hosts of a cluster do.

Run as a script: hosts_run.py STAGE FSDP OUT, in an environment with JAX_COORDINATOR_ADDRESS,
JAX_NUM_PROCESSES and JAX_PROCESS_ID, each process with two simulated devices; without them it is
one process with four. Process 0 leaves the parameters in OUT.npz.
"""

import os
import sys

PROCESSES = int(os.environ.get("JAX_NUM_PROCESSES", "1"))
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={4 // PROCESSES}"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

from pathlib import Path

import jax
import numpy as np

from clipdiff_jax.core.devices import MeshConfig, join_hosts, replicated
from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.weights.params import flatten
from helpers.tiny_stages import STAGES


def main(stage: str, fsdp: int, out: Path) -> None:
    mesh = MeshConfig(fsdp=fsdp, min_split=64, distributed=PROCESSES > 1)
    join_hosts(mesh)
    config = TrainConfig(
        steps=4, batch_size=16, ema=0.9, log_every=1, mesh=mesh,
        optim=OptimConfig(learning_rate=1e-3, eps=1e-3), checkpoint=CheckpointConfig(every=2),
    )  # fmt: skip
    state = fit(STAGES[stage](), config, out)
    kept = {"params": state.params, "ema": state.ema}
    mesh = jax.tree.leaves(state.params)[0].sharding.mesh
    whole = jax.jit(lambda tree: tree, out_shardings=replicated(mesh))(kept)
    arrays = flatten(jax.tree.map(np.asarray, whole))
    if jax.process_index() == 0:
        np.savez(f"{out}.npz", devices=jax.device_count(), **arrays)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
