"""`fit`: the one training loop, from an empty folder or a half-finished run to the last step.

Top to bottom: mesh, shapes and shardings, compiled step, first state, data, loop. A run is
a function of its config: the batch of step s, the random key of step s and so the state after it
do not depend on how often the run was stopped and resumed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from clipdiff_jax.core.devices import make_mesh, replicated, split_batch, tree_sharding
from clipdiff_jax.core.log import quiet_absl
from clipdiff_jax.core.progress import compiling, counter, is_shown, showing
from clipdiff_jax.core.types import Params
from clipdiff_jax.data.loader import batches
from clipdiff_jax.training.checkpoint import Checkpoints, NotFinite
from clipdiff_jax.training.compiled import CompiledStep, compile_step
from clipdiff_jax.training.config import TrainConfig, on_devices
from clipdiff_jax.training.run_log import RunLog, peak_flops
from clipdiff_jax.training.stage import Stage
from clipdiff_jax.training.start import first_state, plan_state
from clipdiff_jax.training.state import TrainState
from clipdiff_jax.training.termination import Termination
from clipdiff_jax.training.workdir import one_trainer


def fit(
    stage: Stage,
    config: TrainConfig,
    workdir: str | Path | None = None,
    *,
    progress: bool | None = None,
    started: Callable[[], None] | None = None,
) -> TrainState:
    """Trains `stage` to step `config.steps` and returns the final state.

    With a `workdir` the run resumes from its newest checkpoint, logs to `log.jsonl`, saves
    checkpoints under `checkpoints/` and exports the model to `model/`. On SIGTERM, SIGHUP and
    SIGINT (Ctrl-C) it saves, and raises `SystemExit` with the status 143, 129 or 130. Without a
    `workdir` nothing touches the disk. `progress`: whether a live line is shown, see
    `core.progress`; where none is, the logger has a line every `config.log_every` steps.
    `started` is called once the state to go on from is there.

    Raises `NotFinite` and `OSError` for what cannot be written (a full disk), both with the last
    good checkpoint kept, and `ConfigError` for a folder in which another process is training.
    """
    with showing(progress):
        return _fit(stage, config, None if workdir is None else Path(workdir), started)


def _fit(
    stage: Stage, config: TrainConfig, folder: Path | None, started: Callable[[], None] | None
) -> TrainState:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    mesh = make_mesh(config.mesh)
    config = on_devices(config, mesh.size)
    log = RunLog(folder, config)
    with quiet_absl(), one_trainer(folder), jax.set_mesh(mesh):
        checkpoints = None
        if folder is not None:
            checkpoints = Checkpoints(folder / "checkpoints", config.checkpoint)
        shardings = tree_sharding(mesh, stage.frozen, config.mesh.min_split)
        frozen = jax.device_put(stage.frozen, shardings)
        plan = plan_state(stage, config, mesh)
        with compiling("the training step", now=True):
            step = compile_step(stage, config, mesh, plan, frozen)
        state = first_state(stage, config, plan, checkpoints, log)
        done = int(state.step)
        if started is not None:
            started()
        data = batches(
            stage.source,
            batch_size=config.batch_size,
            seed=config.seed,
            start_step=done,
            transform=stage.transform,
            num_workers=config.workers,
            process=(jax.process_index(), jax.process_count()),
        )
        log.say(
            f"{step.parameters / 1e6:.2f}M parameters, {mesh.size} device(s) "
            f"{dict(mesh.shape)}, from step {done} to {config.steps}"
        )
        run = _Run(stage, config, folder, mesh, log, checkpoints, step, frozen)
        with Termination(saves=folder is not None) as termination:
            state = run.loop(state, data, done, termination)
    return state


@dataclass(frozen=True)
class _Run:
    """The parts of a run that the loop and its occasions share."""

    stage: Stage
    config: TrainConfig
    folder: Path | None
    mesh: Mesh
    log: RunLog
    checkpoints: Checkpoints | None
    step: CompiledStep
    frozen: Params

    def loop(
        self,
        state: TrainState,
        data: Iterator[dict[str, np.ndarray]],
        done: int,
        termination: Termination,
    ) -> TrainState:
        config = self.config
        meter = _Meter(config.batch_size, self.step.flops, self.mesh)
        pending: dict[str, Any] | None = None
        since_log: list[dict[str, Any]] = []
        live = counter("training", total=config.steps, unit="step", done=done, leave=True)
        try:
            for number in range(done + 1, config.steps + 1):
                batch = split_batch(self.mesh, next(data))
                state, metrics = self.step.call(state, self.frozen, batch)
                # The step before this one has surely been dispatched long ago: looking at it
                # costs no idle time, and no bad step goes unnoticed for longer than one more.
                self._check(pending, number - 1)
                pending = metrics
                since_log.append(metrics)
                if number % config.log_every == 0 or number == config.steps:
                    self._check(metrics, number)
                    values = _means(since_log)
                    since_log.clear()
                    values |= meter.read(number - done)
                    live.note(_told(values))
                    self.log.metrics(number, values, live=is_shown())
                live.update()
                stop = termination.requested(number)
                last = number == config.steps
                if stop or last or number % config.checkpoint.every == 0:
                    self._check(metrics, number)
                    self._save(state, number)
                if stop and not last:
                    self._finish()
                    told = termination.signal
                    self.log.say(f"stopped on {told.name} after step {number}; the state is saved")
                    raise SystemExit(128 + told)
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
        except BaseException:
            with suppress(OSError):  # what is being raised came first
                self._finish()
            raise
        finally:
            live.close()
            self.log.close()
        return state

    def _check(self, metrics: dict[str, Any] | None, number: int) -> None:
        if metrics is None or bool(metrics["finite"]):
            return
        with suppress(OSError):
            self._finish()
        kept = "nothing was saved" if self.checkpoints is None else self.checkpoints.good()
        loss, norm = float(metrics["loss"]), float(metrics["grad_norm"])
        raise NotFinite(f"step {number}: loss {loss}, gradient norm {norm}", kept)

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
        with showing(False):  # the live line is the trainer's
            shown = self.stage.preview(params, self.frozen, key)
        self.log.preview(number, shown)

    def _export(self, state: TrainState) -> None:
        if self.stage.export is None or self.folder is None:
            return
        params = state.params if state.ema is None else state.ema
        params = jax.jit(lambda p: p, out_shardings=replicated(self.mesh))(params)
        if jax.process_index() == 0:
            self.stage.export(self.folder / "model", jax.device_get(params))


def _told(values: dict[str, float]) -> str:
    """Of the newest values what the live line says."""
    rate = values.get("examples_per_s")
    return f"loss {values['loss']:.4g}" + ("" if rate is None else f", {rate:.3g} pictures/s")


class _Meter:
    """Examples per second and FLOP utilisation since the last reading."""

    def __init__(self, batch_size: int, flops: float | None, mesh: Mesh) -> None:
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
