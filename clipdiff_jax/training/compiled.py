"""The training step as one compiled program, and what is known about it before it runs.

Compiling needs shapes only, so a model that would not fit can be asked first what it takes:
`clipdiff train --dry-run` prints parameters, FLOPs and the memory of each device.
"""

import time
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.devices import AnyMesh, batch_sharding, make_mesh, replicated, tree_sharding
from clipdiff_jax.core.types import Params
from clipdiff_jax.data.loader import batches
from clipdiff_jax.training.config import TrainConfig, on_devices
from clipdiff_jax.training.stage import Stage
from clipdiff_jax.training.start import Plan, plan_state
from clipdiff_jax.training.step import make_train_step


@dataclass(frozen=True)
class CompiledStep:
    """A training step compiled for a mesh.

    Attributes:
      call: (state, frozen, batch) -> (state, metrics); donates the state.
      parameters: how many are trained or held in `params`.
      flops: of one step on all devices by XLA's count (loops counted once), or None.
      memory: bytes per device: arguments, outputs, temporaries.
    """

    call: Any
    parameters: int
    flops: float | None
    memory: dict[str, int]


def compile_step(
    stage: Stage, config: TrainConfig, mesh: Mesh, plan: Plan, frozen: Params
) -> CompiledStep:
    """Compiles one step; allocates no parameters.

    `frozen` holds arrays or shapes with their shardings. Raises as `trace_step` does.
    """
    compiled = trace_step(stage, config, mesh, plan, frozen).lower().compile()
    return CompiledStep(
        call=compiled,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(plan.abstract.params)),
        flops=_flops(compiled),
        memory=_memory(compiled),
    )


def trace_step(
    stage: Stage, config: TrainConfig, mesh: AnyMesh, plan: Plan, frozen: Params
) -> jax.stages.Traced:
    """The step as a program that is not compiled yet, for a mesh whose devices need not be here.

    `frozen` holds arrays or shapes with their shardings. Raises `ConfigError` for a batch that
    does not divide over the devices.
    """
    micro = config.batch_size // config.accumulate
    if config.batch_size % mesh.size or micro % mesh.size:
        raise ConfigError(
            f"micro-batches of {micro} examples do not divide over {mesh.size} devices"
        )
    pure = make_train_step(
        stage,
        plan.optimizer,
        accumulate=config.accumulate,
        ema_decay=config.ema,
        sam_rho=config.optim.sam_rho,
    )
    jitted = jax.jit(pure, donate_argnums=0, out_shardings=(plan.shardings, replicated(mesh)))
    return jitted.trace(plan.abstract, frozen, batch_shapes(stage, config, mesh))


def frozen_shapes(stage: Stage, config: TrainConfig, mesh: AnyMesh) -> Params:
    """What the loss reads and nothing changes, as shapes with their shardings."""
    return jax.tree.map(
        lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s),
        stage.frozen,
        tree_sharding(mesh, stage.frozen, config.mesh.min_split),
    )


def dry_step(stage: Stage, config: TrainConfig) -> tuple[CompiledStep, Mesh]:
    """The compiled step and its mesh, without allocating anything."""
    mesh = make_mesh(config.mesh)
    config = on_devices(config, mesh.size)
    with jax.set_mesh(mesh):
        frozen = frozen_shapes(stage, config, mesh)
        return compile_step(stage, config, mesh, plan_state(stage, config, mesh), frozen), mesh


def dry_run(stage: Stage, config: TrainConfig) -> dict[str, Any]:
    """Compiles one step without allocating anything and describes it: parameters, FLOPs and the
    memory that each device needs in bytes, as numbers, and all of it as "text"."""
    start = time.perf_counter()
    step, mesh = dry_step(stage, config)
    seconds = time.perf_counter() - start
    mib = {name: f"{size / 2**20:,.1f} MiB" for name, size in step.memory.items()}
    flops = "unknown" if step.flops is None else f"{step.flops:.3g}"
    lines = [
        f"devices      {mesh.size} ({dict(mesh.shape)})",
        f"parameters   {step.parameters:,}",
        f"FLOPs/step   {flops} (XLA's count; the body of a loop counts once)",
        "memory per device:",
        *(f"  {name:<11} {size}" for name, size in mib.items()),
        f"compiled in  {seconds:.1f} s",
    ]
    return {
        "text": "\n".join(lines),
        "devices": mesh.size,
        "parameters": step.parameters,
        "flops": step.flops,
        "memory": dict(step.memory),
        "seconds": seconds,
    }


def batch_shapes(
    stage: Stage, config: TrainConfig, mesh: AnyMesh
) -> dict[str, jax.ShapeDtypeStruct]:
    """Global shapes of a batch, from one example."""
    one = next(batches(stage.source, batch_size=1, seed=config.seed, transform=stage.transform))
    sharding = batch_sharding(mesh)
    return {
        name: jax.ShapeDtypeStruct(
            (config.batch_size, *value.shape[1:]), value.dtype, sharding=sharding
        )
        for name, value in one.items()
    }


def _flops(compiled: Any) -> float | None:
    analysis = compiled.cost_analysis()
    if isinstance(analysis, list):
        analysis = analysis[0] if analysis else None
    return None if not analysis else float(analysis.get("flops", 0.0)) or None


def _memory(compiled: Any) -> dict[str, int]:
    analysis = compiled.memory_analysis()
    if analysis is None:
        return {}
    return {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }
