"""Compiles tiny programs for a target and says what came of them, as JSON.

Run as a script: target_run.py TARGET WHAT:DTYPE:FSDP ... , in the environment that the target's
compiler needs (`clipdiff_jax.training.targets.compilers.environment`). WHAT is a stage, for its
train step, or "sampling": pictures shared by all devices, each of which holds the whole model.
"""

import json
import sys

import jax

from clipdiff_jax.core.devices import MeshConfig, batch_sharding, make_mesh, replicated
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.targets.compilers import devices_of
from clipdiff_jax.training.targets.names import read_target
from clipdiff_jax.training.targets.report import numbers_of
from clipdiff_jax.training.targets.study import study
from clipdiff_jax.training.targets.training import describe_step
from helpers.tiny_models import tiny_base
from helpers.tiny_stages import STAGES


def step(target: str, stage: str, dtype: str, fsdp: int) -> dict:
    mesh = MeshConfig(fsdp=fsdp, min_split=64)
    train = TrainConfig(steps=3, batch_size=16, accumulate=2, ema=0.9, mesh=mesh)
    return describe_step(STAGES[stage](dtype), train, read_target(target))


def sampling(target: str) -> dict:
    found = read_target(target)
    mesh = make_mesh(MeshConfig(), devices_of(found))
    placed = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
    model = jax.tree.map(lambda leaf: placed(leaf, replicated(mesh)), tiny_base())
    keys = placed(jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 16)),
                  batch_sharding(mesh))  # fmt: skip
    generate = jax.jit(lambda model, keys: model.generate(key=keys, steps=3, progress=False))
    trace = lambda: generate.trace(model, keys)
    return numbers_of(study(found, trace, {"parameters": model, "inputs": keys}))


def run(target: str, what: str, dtype: str, fsdp: int) -> dict:
    made = sampling(target) if what == "sampling" else step(target, what, dtype, fsdp)
    return {key: made[key] for key in ("fits", "collectives", "counts", "memory")}


if __name__ == "__main__":
    for text in sys.argv[2:]:
        what, dtype, fsdp = text.split(":")
        print(json.dumps({text: run(sys.argv[1], what, dtype, int(fsdp))}), flush=True)
