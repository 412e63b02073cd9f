"""Checkpoints: orbax behind a few functions, and nothing taken for good that was not looked at.

A checkpoint is written to a temporary folder and renamed when complete, so a killed run leaves
either the whole of it or nothing that counts. With it goes a record with a checksum of every array
(`checkpoint_record`); what is read back is held against it. Where the newest checkpoint is damaged
the one before is taken, and the damaged one is kept aside under another name.

Restoring places every array straight into the sharding of the mesh in use, which may have another
number of devices than the one that wrote it.
"""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.files import free_path
from clipdiff_jax.core.log import quiet_absl
from clipdiff_jax.training.checkpoint_record import (
    DamagedError,
    Record,
    check_files,
    check_saved,
    list_files,
    read_record,
    record_of,
)
from clipdiff_jax.training.checksums import (
    host_checksum,
    named_leaves,
    not_finite,
    tree_checksums,
)
from clipdiff_jax.training.state import TrainState

with quiet_absl():
    from orbax.checkpoint import v1 as ocp

logger = logging.getLogger(__name__)

Shapes = dict[str, tuple[int, ...]]
ASIDE = ".aside"  # the ending of what is kept, and is no checkpoint
# What says nothing about a checkpoint.
_NOT_ITS_FAULT = (ConfigError, MemoryError, PermissionError, jax.errors.JaxRuntimeError)


class NotFinite(FloatingPointError):
    """What is trained, or its loss, became NaN or infinite; the message says what is left."""

    def __init__(self, what: str, kept: str) -> None:
        advice = "Lower optim.learning_rate or set optim.clip_norm, then start again."
        super().__init__(f"{what}; {kept}. {advice}")


@dataclass(frozen=True)
class CheckpointConfig:
    """Attributes:
    every: steps between checkpoints.
    keep: how many of the newest to keep.
    keep_every: also keep those whose step is a multiple of this; None for none.
    """

    every: int = 1000
    keep: int = 2
    keep_every: int | None = None


class Checkpoints:
    """The checkpoints of one run, in `folder`; saves in the background.

    Orbax speaks through absl, also of what is raised here: use them within `core.log.quiet_absl`.
    """

    def __init__(self, folder: Path, config: CheckpointConfig) -> None:
        self._folder, self._config = folder.absolute(), config
        self._folder.mkdir(parents=True, exist_ok=True)
        self._orbax: ocp.training.Checkpointer | None = None
        self._under_way: int | None = None

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint; whether it is good is not known yet."""
        return max(self._steps(), default=None)

    def save(self, state: TrainState, step: int) -> None:
        """Starts to save; copies what it needs first, so the state may be donated at once.

        Raises `NotFinite` for parameters that are not, and `OSError` where this save, or the one
        before, cannot be written. That there is space is asked before: what fails in the background
        is noticed late.
        """
        if step in (self.latest, self._under_way):
            return
        with self._writing():
            self._wait()
            self._under_way = step
            if names := not_finite({"params": state.params, "ema": state.ema}):
                found = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
                raise NotFinite(f"step {step}: numbers in {found} are not finite", self.good())
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            free = shutil.disk_usage(self._folder).free
            if free < needed:
                raise OSError(
                    f"{needed / 2**20:,.1f} MiB are needed, the disk has {free / 2**20:,.1f} MiB"
                )
            storable = _storable(state)
            record = record_of(step, storable, tree_checksums(storable))
            self._open().save_async(step, storable, custom_metadata=record.to_metadata())

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest good checkpoint, with the shapes, dtypes and shardings of `like`; None where
        there are none.

        Damaged ones that are newer, and what is no checkpoint but has the name of one, are renamed
        and said in the log. Raises `ConfigError` where all are damaged, and then renames nothing;
        and where one holds another tree or other shapes: another model, optimiser or moving average
        wrote it.
        """
        damaged: dict[int, str] = {}
        for step in sorted(self._steps(), reverse=True):
            try:
                state = self._read(step, _storable(like))
            except _NOT_ITS_FAULT:
                raise
            except Exception as error:  # whatever orbax makes of a damaged file
                damaged[step] = _reason(error, self._folder / str(step))
            if _all_agree(step not in damaged):
                self._keep_aside(damaged, step)
                return state._replace(key=jax.random.wrap_key_data(state.key))
            damaged.setdefault(step, "another process could not read it")
        if damaged:
            said = "; ".join(f"checkpoint {step}: {reason}" for step, reason in damaged.items())
            raise ConfigError(
                f"no checkpoint in '{self._folder}' can be read ({said}). They stay as they are; "
                "to begin anew use another --workdir"
            )
        return None

    def good(self) -> str:
        """Says which checkpoint is good, of those that are complete; it has been read."""
        for step in sorted(self._steps(), reverse=True):
            try:
                if jax.process_count() > 1:  # no host can hold what all of them hold
                    return f"checkpoint {step} is the newest that was written whole"
                self._check(step)
                return f"checkpoint {step} is good"
            except Exception as error:  # whatever orbax makes of a damaged file
                reason = _reason(error, self._folder / str(step))
                logger.warning("checkpoint %d is damaged: %s", step, reason)
        return "there is no good checkpoint yet"

    def close(self) -> None:
        """Waits for the save under way. Raises `OSError` where it cannot be written."""
        with self._writing():
            self._wait()
            if self._orbax is not None:
                self._orbax.close()

    def _open(self) -> ocp.training.Checkpointer:
        if self._orbax is None:
            rules = ocp.training.preservation_policies
            keep = [rules.LatestN(self._config.keep)]
            if self._config.keep_every:
                keep.append(rules.EveryNSteps(self._config.keep_every))

            def written() -> None:  # no method: orbax copies its options, and what they hold
                self._list_files()

            context = ocp.Context()
            context.asynchronous.post_finalization_callback = written
            self._orbax = ocp.training.Checkpointer(
                self._folder,
                context=context,
                save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
                preservation_policy=rules.AnyPreservationPolicy(keep),
                cleanup_tmp_directories=True,
            )
        return self._orbax

    def _list_files(self) -> None:
        """Orbax calls this when it has written all files, before the folder gets its name."""
        if jax.process_index() == 0:
            for folder in self._folder.glob(f"{self._under_way}.*"):
                if folder.suffix != ASIDE:
                    with suppress(OSError):  # a full disk is told of by what matters more
                        list_files(folder)

    def _steps(self) -> list[int]:
        """Of what is there under a number for a name; not of the save under way."""
        names = [path.name for path in self._folder.iterdir() if path.name.isdecimal()]
        steps = [int(name) for name in names if name == str(int(name))]
        return [step for step in steps if step != self._under_way]

    def _wait(self) -> None:
        """Until the save under way is complete, or has failed."""
        try:
            if self._orbax is not None:
                self._orbax.wait()
        finally:
            self._under_way = None

    def _read(self, step: int, like: TrainState) -> TrainState:
        """The checkpoint of that step, whose arrays are what was saved."""
        folder = self._folder / str(step)
        record = read_record(folder)
        check_files(folder)
        if record is None:  # of a version that wrote no checksums
            self._expect(step, _shapes(ocp.metadata(folder).metadata), like)
            return ocp.load(folder, like)
        self._expect(step, {name: saved.shape for name, saved in record.arrays.items()}, like)
        loaded = ocp.load(folder, _as_saved(like, record))
        check_saved(record, folder, tree_checksums(loaded))
        return jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), loaded, like)

    def _check(self, step: int) -> None:
        """Reads a checkpoint on the host. Raises `DamagedError`, or what orbax raises."""
        folder = self._folder / str(step)
        record = read_record(folder)
        check_files(folder)
        stored = ocp.metadata(folder).metadata
        loaded = ocp.load(folder, jax.tree.map(lambda a: np.empty(a.shape, a.dtype), stored))
        if record is not None:
            leaves = named_leaves(loaded).items()
            check_saved(record, folder, {name: host_checksum(leaf) for name, leaf in leaves})

    def _expect(self, step: int, found: Shapes, like: TrainState) -> None:
        wanted = _shapes(like)
        wrong = sorted(
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        )
        if wrong:
            listed = [f"{n}: {found.get(n)} stored, {wanted.get(n)} wanted" for n in wrong[:5]]
            raise ConfigError(
                f"checkpoint {step} in '{self._folder}' does not fit this config in {len(wrong)} "
                f"places, such as {'; '.join(listed)}. Use another --workdir or the config it was "
                "started with"
            )

    def _keep_aside(self, damaged: Mapping[int, str], good: int) -> None:
        """Renames the damaged ones, and older folders that orbax would fall over, or delete."""
        reasons = dict(damaged)
        for step in self._steps():
            if step < good:
                try:
                    read_record(self._folder / str(step))
                except DamagedError as error:
                    reasons[step] = str(error)
        for step, reason in reasons.items():
            path = self._folder / str(step)
            aside = free_path(path.with_suffix(ASIDE))
            logger.warning(
                "checkpoint %d is damaged: %s. It is kept as '%s'; going on from checkpoint %d",
                step, reason, aside, good,
            )  # fmt: skip
            if jax.process_index() == 0:
                path.rename(aside)
        _all_agree(True)  # none goes on before that is done

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Orbax reports a full disk in several ways, by the file that did not fit."""
        try:
            yield
        except (ValueError, OSError) as error:
            raise OSError(
                f"could not write a checkpoint to '{self._folder}', {self.good()}: {error}"
            ) from error


def _all_agree(good: bool) -> bool:
    """Whether it is so on every host."""
    if jax.process_count() == 1:
        return good
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.array(good)).all())


def _reason(error: Exception, folder: Path) -> str:
    """Why the checkpoint in `folder` cannot be read; what orbax raises may be pages long."""
    lines = str(error).strip().splitlines()
    said = lines[0][:400].rstrip(".") if lines else type(error).__name__
    return said if str(folder) in said else f"in '{folder}': {said}"


def _shapes(tree: Any) -> Shapes:
    """Path -> shape of every array, for trees of tuples and for the dictionaries orbax keeps."""
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


def _as_saved(like: TrainState, record: Record) -> TrainState:
    """`like` in the dtypes of the record, in which alone its checksums can be compared."""
    dtypes = [jnp.dtype(record.arrays[name].dtype) for name in named_leaves(like)]
    leaves, tree = jax.tree.flatten(like)
    shapes = [
        jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=leaf.sharding)
        for leaf, dtype in zip(leaves, dtypes, strict=True)
    ]
    return jax.tree.unflatten(tree, shapes)


def _storable(state: TrainState) -> TrainState:
    """Random keys are stored as the numbers they are made of. The state may consist of shapes."""
    if isinstance(state.key, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, state.key)
        shape: Any = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=state.step.sharding)
        return state._replace(key=shape)
    return state._replace(key=jax.random.key_data(state.key))
