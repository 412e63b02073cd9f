"""A train step on targets: what `clipdiff train --dry-run --target` prints."""

import dataclasses
from typing import Any, NamedTuple

import jax

from clipdiff_jax.core.devices import MeshConfig, make_mesh
from clipdiff_jax.training.compiled import batch_shapes, frozen_shapes, trace_step
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.stage import Stage
from clipdiff_jax.training.start import plan_state
from clipdiff_jax.training.targets.compilers import devices_of
from clipdiff_jax.training.targets.names import Target
from clipdiff_jax.training.targets.report import duration, lines_of, numbers_of
from clipdiff_jax.training.targets.study import Study, study

_SPLIT = ("parameters", "optimiser", "average", "frozen models")  # by fsdp


class StepStudy(NamedTuple):
    """The study of a train step, how many parameters there are, and the mesh."""

    study: Study
    parameters: int
    mesh: dict[str, int]


def study_step(stage: Stage, config: TrainConfig, target: Target) -> StepStudy:
    """Compiles one step for a target; allocates nothing.

    Raises `ConfigError` for a mesh that does not fit the target and a batch that does not divide
    over it, and as `compilers.devices_of` does.
    """
    mesh = make_mesh(config.mesh, devices_of(target))
    # Abstract: under a mesh of devices that are not here nothing could be computed at all.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        plan, frozen = plan_state(stage, config, mesh), frozen_shapes(stage, config, mesh)
        state = plan.abstract
        arguments = {
            "parameters": state.params,
            "optimiser": state.opt,
            "average": state.ema,
            "frozen models": frozen,
            "batch": batch_shapes(stage, config, mesh),
        }
        found = study(target, lambda: trace_step(stage, config, mesh, plan, frozen), arguments)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    return StepStudy(found, parameters, dict(mesh.shape))


def describe_step(stage: Stage, config: TrainConfig, target: Target) -> dict[str, Any]:
    """`study_step` in words ("text") and in numbers, as JSON has them. Raises as it does."""
    return described_as(study_step(stage, config, target), config)


def described_as(step: StepStudy, config: TrainConfig) -> dict[str, Any]:
    """A study that was made, in words and in numbers."""
    found, parameters, mesh = step
    numbers = {"parameters": parameters, "mesh": mesh, "batch": config.batch_size}
    numbers |= {"accumulate": config.accumulate, "steps": config.steps}
    text = _text(found, parameters, mesh, config)
    return {"text": text, **numbers, **numbers_of(found)}


def _text(found: Study, parameters: int, mesh: dict[str, int], config: TrainConfig) -> str:
    target = found.target
    laid = " x ".join(f"{axis}={size}" for axis, size in mesh.items())
    of = f", in {config.accumulate} parts" if config.accumulate > 1 else ""
    lines = [
        f"{target.name}: {target.count} devices ({laid}), {config.batch_size} examples a step{of}",
        f"parameters      {parameters:,}",
        *lines_of(found, "step", advice(found, config, target)),
    ]
    if found.times is not None:
        least, most = (duration(config.steps * t) for t in (found.times.least, found.times.most))
        lines.append(f"{config.steps:,} steps      at least {least}, {most} where nothing overlaps")
    return "\n".join(lines)


def advice(found: Study, config: TrainConfig, target: Target) -> list[str]:
    """What to set so that it fits: more micro-batches, or parameters split further.

    Estimates: temporaries shrink with the micro-batch, what is split with `fsdp`.
    """
    if target.chip is None or found.needed <= target.chip.memory:
        return []
    if found.memory is None:
        split, shrinking, fixed = 0, found.refused, 0
    else:
        split = sum(found.memory.arguments.get(kind, 0) for kind in _SPLIT)
        shrinking = found.memory.temporaries
        fixed = found.memory.total - split - shrinking
    enough = 0.95 * target.chip.memory
    micro, fsdp, advised = config.batch_size // config.accumulate, config.mesh.fsdp, []
    for parts in (n for n in range(2, micro + 1) if micro % n == 0):
        if (micro // parts) % target.count == 0 and fixed + split + shrinking / parts <= enough:
            advised.append(f"--config.train.accumulate={config.accumulate * parts}")
            break
    for wider in (n for n in range(fsdp + 1, target.count + 1) if target.count % n == 0):
        if split and fixed + split * fsdp / wider + shrinking <= enough:
            advised.append(f"--config.train.mesh.fsdp={wider}")
            break
    return advised or ["more devices, a smaller --config.train.batch_size, or remat"]


def fit_mesh(config: TrainConfig, target: Target) -> TrainConfig:
    """The same with a mesh that the target can have: its devices, and `fsdp` at most as many."""
    fsdp = next(
        n for n in range(min(config.mesh.fsdp, target.count), 0, -1) if not target.count % n
    )
    mesh: MeshConfig = dataclasses.replace(config.mesh, data=-1, fsdp=fsdp, distributed=False)
    return dataclasses.replace(config, mesh=mesh)
