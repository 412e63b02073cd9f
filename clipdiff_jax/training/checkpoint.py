"""Checkpoints: orbax behind four functions.

A checkpoint is written to a temporary folder and renamed when complete, so a killed run leaves
either the whole of it or nothing that counts. Restoring places every array straight into the
sharding of the mesh in use, which may have another number of devices than the one that wrote it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.log import quiet_absl
from clipdiff_jax.core.types import Params
from clipdiff_jax.training.state import TrainState

with quiet_absl():
    from orbax.checkpoint import v1 as ocp


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
        rules = ocp.training.preservation_policies
        keep = [rules.LatestN(config.keep)]
        if config.keep_every:
            keep.append(rules.EveryNSteps(config.keep_every))
        self._folder = folder.absolute()
        self._orbax = ocp.training.Checkpointer(
            self._folder,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=rules.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=True,
        )

    @property
    def latest(self) -> int | None:
        """The step of the newest complete checkpoint."""
        newest = self._orbax.latest
        return None if newest is None else newest.step

    def save(self, state: TrainState, step: int) -> None:
        """Starts to save; copies what it needs first, so the state may be donated at once.

        Raises `OSError` where this save, or the one before, cannot be written. That there is
        space is asked before: what fails in the background is noticed late.
        """
        if step == self.latest:
            return
        with self._writing():
            needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
            free = shutil.disk_usage(self._folder).free
            if free < needed:
                raise OSError(
                    f"{needed / 2**20:,.1f} MiB are needed, the disk has {free / 2**20:,.1f} MiB"
                )
            self._orbax.save_async(step, _storable(state))

    def restore(self, like: TrainState) -> TrainState:
        """The newest checkpoint, with the shapes, dtypes and shardings of `like`.

        Raises `ConfigError` where it holds another tree or other shapes: another model, optimiser
        or moving average wrote it.
        """
        self._expect(_storable(like))
        loaded = self._orbax.load(self.latest, _storable(like))
        return loaded._replace(key=jax.random.wrap_key_data(loaded.key))

    def _expect(self, like: TrainState) -> None:
        stored = self._orbax.metadata(self.latest).metadata
        found, wanted = _shapes(stored), _shapes(like)
        wrong = sorted(
            name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)
        )
        if wrong:
            listed = [f"{n}: {found.get(n)} stored, {wanted.get(n)} wanted" for n in wrong[:5]]
            raise ConfigError(
                f"checkpoint {self.latest} in '{self._orbax.directory}' does not fit this config "
                f"in {len(wrong)} places, such as {'; '.join(listed)}. Use another --workdir or "
                "the config it was started with"
            )

    def close(self) -> None:
        """Waits for the save under way. Raises `OSError` where it cannot be written."""
        with self._writing():
            self._orbax.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Orbax reports a full disk in several ways, by the file that did not fit."""
        try:
            yield
        except (ValueError, OSError) as error:
            newest = self.latest
            kept = "there is none yet" if newest is None else f"that of step {newest} is good"
            raise OSError(
                f"could not write a checkpoint to '{self._folder}', {kept}: {error}"
            ) from error


def _shapes(tree: Params) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every array, for trees of tuples and for the dictionaries orbax keeps."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _storable(state: TrainState) -> TrainState:
    """Random keys are stored as the numbers they are made of. The state may consist of shapes."""
    if isinstance(state.key, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, state.key)
        shape: Any = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=state.step.sharding)
        return state._replace(key=shape)
    return state._replace(key=jax.random.key_data(state.key))
