"""`fit`: the one training loop, from an empty folder or a half-finished run to the last step.

Top to bottom: mesh, optimiser, shapes and shardings, compiled step, restore, data, loop. A run is
a function of its config: the batch of step s, the random key of step s and so the state after it
do not depend on how often the run was stopped and resumed.
"""

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax.config import ConfigError
from clipdiff_jax.data.loader import batches
from clipdiff_jax.train.checkpoint import CheckpointConfig, Checkpoints
from clipdiff_jax.train.log import Log, peak_flops
from clipdiff_jax.train.optim import OptimConfig, make_optimizer
from clipdiff_jax.train.sharding import (
    MeshConfig,
    batch_sharding,
    make_mesh,
    replicated,
    shard_batch,
    tree_sharding,
)
from clipdiff_jax.train.stage import Stage
from clipdiff_jax.train.state import TrainState, new_state, state_sharding, with_params
from clipdiff_jax.train.step import make_train_step


@dataclass(frozen=True)
class TrainConfig:
    """Describes a run of the trainer.

    Attributes:
      steps: batches to train on.
      batch_size: examples a step, over all devices and hosts.
      accumulate: micro-batches a step; must divide the batch.
      seed: of initialisation, data order and noise.
      ema: decay of the moving average of the parameters, which is what is exported; 0 for none.
      workers: processes that read data; 0 reads in this one.
      log_every: steps between log lines.
      preview_every: steps between image previews; 0 for none.
      export_every: steps between exports of the model folder; 0 for only at the end.
      tensorboard: also write TensorBoard events (needs the extra `[tensorboard]`).
      optim, mesh, checkpoint: see their classes.
    """

    steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1
    seed: int = 0
    ema: float = 0.0
    workers: int = 0
    log_every: int = 50
    preview_every: int = 0
    export_every: int = 0
    tensorboard: bool = False
    optim: OptimConfig = field(default_factory=OptimConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)

    def __post_init__(self):
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"train.accumulate={self.accumulate} does not divide "
                f"train.batch_size={self.batch_size}"
            )
        if not 0 <= self.ema < 1:
            raise ConfigError(f"train.ema={self.ema} is not in [0, 1)")


class NotFinite(FloatingPointError):
    """The loss or its gradient became NaN or infinite; the message says where to go on from."""


@dataclass(frozen=True)
class CompiledStep:
    """A training step compiled for a mesh, with what is known about it before it runs.

    Attributes:
      call: (state, frozen, batch) -> (state, metrics); donates the state.
      abstract: the state's shapes, dtypes and shardings.
      parameters: how many are trained or held in `params`.
      flops: of one step on all devices by XLA's count (loops counted once), or None.
      memory: bytes a device: arguments, outputs, temporaries.
    """

    call: Any
    abstract: TrainState
    parameters: int
    flops: float | None
    memory: dict[str, int]


def fit(
    stage: Stage,
    config: TrainConfig,
    workdir: str | Path | None = None,
    *,
    progress: bool = False,
) -> TrainState:
    """Trains `stage` to step `config.steps` and returns the final state.

    With a `workdir` the run resumes from its newest checkpoint, logs to `log.jsonl`, saves
    checkpoints under `checkpoints/` and exports the model to `model/`. On SIGTERM it saves, and
    raises `SystemExit(143)`. Without a `workdir` nothing touches the disk. `progress` shows a bar
    in place of log lines.

    Raises `NotFinite` (with the last good checkpoint kept), and `ConfigError` for a batch that
    does not divide over the devices.
    """
    folder = None if workdir is None else Path(workdir)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    mesh = make_mesh(config.mesh)
    log = Log(folder, config.tensorboard, console=not progress)
    checkpoints = None if folder is None else Checkpoints(folder / "checkpoints", config.checkpoint)
    with jax.set_mesh(mesh):
        first = _next_batch_shapes(stage, config)
        frozen = _place(mesh, stage.frozen, config)
        step = compile_step(stage, config, mesh, first, frozen)
        state = _start(stage, config, mesh, step.abstract, checkpoints, log)
        done = int(state.step)
        data = batches(
            stage.source,
            batch_size=config.batch_size,
            seed=config.seed,
            start_step=done,
            transform=stage.transform,
            num_workers=config.workers,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        log.say(
            f"{step.parameters / 1e6:.2f}M parameters, {mesh.size} device(s) "
            f"{dict(mesh.shape)}, from step {done} to {config.steps}"
        )
        run = _Run(stage, config, folder, mesh, log, checkpoints, step, frozen)
        with _Termination() as termination:
            state = run.loop(state, data, done, termination, progress)
    return state


def dry_run(stage: Stage, config: TrainConfig) -> str:
    """Compiles one step without allocating anything and describes it: parameters, FLOPs and the
    memory each device needs."""
    mesh = make_mesh(config.mesh)
    with jax.set_mesh(mesh):
        first = _next_batch_shapes(stage, config)
        frozen = _abstract(mesh, stage.frozen, config)
        start = time.perf_counter()
        step = compile_step(stage, config, mesh, first, frozen)
        seconds = time.perf_counter() - start
    mib = {name: f"{size / 2**20:,.1f} MiB" for name, size in step.memory.items()}
    flops = "unknown" if step.flops is None else f"{step.flops:.3g}"
    lines = [
        f"devices      {mesh.size} ({dict(mesh.shape)})",
        f"parameters   {step.parameters:,}",
        f"FLOPs a step {flops} (XLA's count; the body of a loop counts once)",
        "memory a device:",
        *(f"  {name:<11} {size}" for name, size in mib.items()),
        f"compiled in  {seconds:.1f} s",
    ]
    return "\n".join(lines)


def compile_step(
    stage: Stage, config: TrainConfig, mesh: Any, batch: dict[str, Any], frozen: Any
) -> CompiledStep:
    """Shapes, shardings and the compiled step; allocates no parameters.

    `batch` maps names to global shapes; `frozen` holds arrays or shapes with their shardings.
    """
    if config.batch_size % mesh.size or (config.batch_size // config.accumulate) % mesh.size:
        raise ConfigError(
            f"micro-batches of {config.batch_size // config.accumulate} examples do not divide "
            f"over {mesh.size} devices"
        )
    split = config.mesh.min_split
    abstract, optimizer = _abstract_state(stage, config)
    shardings = state_sharding(mesh, abstract, split)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        abstract,
        shardings,
    )
    pure = make_train_step(
        stage,
        optimizer,
        accumulate=config.accumulate,
        ema_decay=config.ema,
        sam_rho=config.optim.sam_rho,
    )
    jitted = jax.jit(pure, donate_argnums=0, out_shardings=(shardings, replicated(mesh)))
    whole = {
        name: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=batch_sharding(mesh))
        for name, s in batch.items()
    }
    compiled = jitted.lower(abstract, frozen, whole).compile()
    return CompiledStep(
        call=compiled,
        abstract=abstract,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(abstract.params)),
        flops=_flops(compiled),
        memory=_memory(compiled),
    )


@dataclass(frozen=True)
class _Run:
    """The parts of a run that the loop and its occasions share."""

    stage: Stage
    config: TrainConfig
    folder: Path | None
    mesh: Any
    log: Log
    checkpoints: Checkpoints | None
    step: CompiledStep
    frozen: Any

    def loop(
        self,
        state: TrainState,
        data: Iterator[dict[str, np.ndarray]],
        done: int,
        termination: "_Termination",
        progress: bool,
    ) -> TrainState:
        config = self.config
        meter = _Meter(config.batch_size, self.step.flops, self.mesh)
        pending: dict[str, Any] | None = None
        since_log: list[dict[str, Any]] = []
        bar = tqdm(total=config.steps, initial=done, disable=not progress, unit="step")
        try:
            for number in range(done + 1, config.steps + 1):
                batch = shard_batch(self.mesh, next(data))
                state, metrics = self.step.call(state, self.frozen, batch)
                # The step before this one has surely been dispatched long ago: looking at it
                # costs no idle time, and no bad step goes unnoticed for longer than one more.
                self._check(pending, number - 1)
                pending = metrics
                bar.update()
                since_log.append(metrics)
                if number % config.log_every == 0 or number == config.steps:
                    self._check(metrics, number)
                    values = _means(since_log)
                    since_log.clear()
                    bar.set_postfix(loss=f"{values['loss']:.4g}")
                    self.log.metrics(number, values | meter.read(number - done))
                stop = termination.requested(number)
                last = number == config.steps
                if stop or last or number % config.checkpoint.every == 0:
                    self._check(metrics, number)
                    self._save(state, number)
                if stop and not last:
                    self._finish()
                    self.log.say(f"stopped on SIGTERM after step {number}; the state is saved")
                    raise SystemExit(143)
                preview = config.preview_every and number % config.preview_every == 0
                export = config.export_every and number % config.export_every == 0
                if preview:
                    self._preview(state, number)
                if export and not last:
                    self._export(state)
                if preview or export:
                    meter.restart(number - done)
            self._export(state)
            self._finish()
        finally:
            bar.close()
            self.log.close()
        return state

    def _check(self, metrics: dict[str, Any] | None, number: int) -> None:
        if metrics is None or bool(metrics["finite"]):
            return
        latest = None if self.checkpoints is None else self.checkpoints.latest
        self._finish()
        kept = "there is no checkpoint yet" if latest is None else f"checkpoint {latest} is good"
        raise NotFinite(
            f"step {number}: loss {float(metrics['loss'])}, gradient norm "
            f"{float(metrics['grad_norm'])}; {kept}. Lower optim.learning_rate or set "
            "optim.clip_norm, then start again to go on from it."
        )

    def _save(self, state: TrainState, number: int) -> None:
        if self.checkpoints is not None:
            self.checkpoints.save(state, number)

    def _finish(self) -> None:
        if self.checkpoints is not None:
            self.checkpoints.close()

    def _preview(self, state: TrainState, number: int) -> None:
        if self.stage.preview is None or self.folder is None:
            return
        params = state.params if state.ema is None else state.ema
        key = jax.random.key(self.config.seed)
        for name, images in self.stage.preview(params, self.frozen, key).items():
            self.log.images(number, name, images)

    def _export(self, state: TrainState) -> None:
        if self.stage.export is None or self.folder is None:
            return
        params = state.params if state.ema is None else state.ema
        params = jax.jit(lambda p: p, out_shardings=replicated(self.mesh))(params)
        if jax.process_index() == 0:
            self.stage.export(self.folder / "model", jax.device_get(params))


class _Termination:
    """Turns SIGTERM into a question that the loop asks after each step.

    With several hosts they all answer alike (jax's preemption sync point).
    """

    def __init__(self):
        self._flag = threading.Event()
        self._previous: Any = None

    def __enter__(self) -> "_Termination":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, lambda *_: self._flag.set())
        return self

    def __exit__(self, *_: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def requested(self, step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._flag.is_set()


class _Meter:
    """Examples a second and FLOP utilisation since the last reading."""

    def __init__(self, batch_size: int, flops: float | None, mesh: Any):
        self._batch_size, self._flops = batch_size, flops
        peak = peak_flops(mesh.devices.flat[0])
        self._peak = None if peak is None else peak * mesh.size
        self.restart(0)

    def restart(self, steps: int) -> None:
        self._since, self._steps = time.perf_counter(), steps

    def read(self, steps: int) -> dict[str, float]:
        seconds, count = time.perf_counter() - self._since, steps - self._steps
        self.restart(steps)
        if count == 0:
            return {}
        values = {"examples_per_s": round(count * self._batch_size / seconds, 3)}
        if self._flops is not None:
            rate = self._flops * count / seconds
            values["tflops_per_s"] = round(rate / 1e12, 4)
            if self._peak is not None:
                values["flop_utilisation"] = round(rate / self._peak, 4)
        return values


def _means(metrics: list[dict[str, Any]]) -> dict[str, float]:
    """Each metric's mean over the steps since the last log line."""
    values = jax.device_get(metrics)
    return {
        name: float(np.mean([one[name] for one in values]))
        for name in values[0]
        if name != "finite"
    }


def _next_batch_shapes(stage: Stage, config: TrainConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Global shapes of a batch, from one example."""
    one = next(batches(stage.source, batch_size=1, seed=config.seed, transform=stage.transform))
    return {
        name: jax.ShapeDtypeStruct((config.batch_size, *value.shape[1:]), value.dtype)
        for name, value in one.items()
    }


def _abstract_state(stage: Stage, config: TrainConfig):
    """Shapes of the state, and the optimiser."""
    updates = config.steps * stage.rounds
    params = jax.eval_shape(stage.init, jax.random.key(config.seed))
    optimizer = make_optimizer(config.optim, updates, params, stage.trainable)
    state = jax.eval_shape(lambda: new_state(stage, optimizer, config.seed, config.ema > 0))
    return state, optimizer


def _start(
    stage: Stage,
    config: TrainConfig,
    mesh: Any,
    abstract: TrainState,
    checkpoints: Checkpoints | None,
    log: Log,
) -> TrainState:
    if checkpoints is not None and checkpoints.latest is not None:
        log.say(f"resuming from step {checkpoints.latest}")
        return checkpoints.restore(abstract)
    _, optimizer = _abstract_state(stage, config)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
    create = jax.jit(
        lambda: new_state(stage, optimizer, config.seed, config.ema > 0), out_shardings=shardings
    )
    state = create()
    if stage.start is None:
        return state
    params = jax.tree.map(jax.device_put, stage.start, shardings.params)
    return jax.jit(with_params, donate_argnums=0, out_shardings=shardings)(state, params)


def _place(mesh: Any, tree: Any, config: TrainConfig) -> Any:
    return jax.device_put(tree, tree_sharding(mesh, tree, config.mesh.min_split))


def _abstract(mesh: Any, tree: Any, config: TrainConfig) -> Any:
    shardings = tree_sharding(mesh, tree, config.mesh.min_split)
    return jax.tree.map(
        lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), tree, shardings
    )


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
