"""Endless batches in which the step number is the whole state.

Every epoch is a new permutation of the source, and epochs follow one another without a gap, so
that example `p` of the run (p = step x batch + place in the batch) is a function of (seed, p).
The batch at a step therefore does not depend on where the run was started, on how many worker
processes read, or on how many hosts share it: each host reads its contiguous part of the same
global batch. Built on `grain.MapDataset`, which has exactly this random access.
"""

import multiprocessing
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
from absl import flags

from clipdiff_jax.core.log import quiet_absl
from clipdiff_jax.data.sources import DataSource
from clipdiff_jax.data.transforms import Transform

with quiet_absl():
    import grain

# Batches read ahead by threads of each reading process.
PREFETCH = 4


def batches(
    source: DataSource,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    transform: Transform | None = None,
    num_workers: int = 0,
    process: tuple[int, int] = (0, 1),
) -> Iterator[dict[str, np.ndarray]]:
    """Yields this process's part of the global batches of steps `start_step`, `start_step` + 1...

    `batch_size` is that of the global batch. `process` is (index, count): the processes' parts, put
    together in the order of their index, are what a single process would yield.
    `transform(example, rng)` returns arrays, with `rng` a function of the seed and the example's
    position; without one the batch has the images as they are (uint8, all of one size).
    `num_workers` further processes read, none by default (threads then read ahead in this one).

    Raises `ValueError` for an empty source, a seed outside 0..2^32-1, a process that does not
    exist, a batch that the processes cannot share equally, and a transform that returns something
    other than arrays.
    """
    process_index, process_count = process
    if len(source) == 0:
        raise ValueError("the source has no examples")
    if batch_size < 1 or process_count < 1 or batch_size % process_count:
        raise ValueError(f"{process_count} processes cannot share a batch of {batch_size} equally")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index {process_index} is not in 0..{process_count - 1}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must lie in 0..2^32-1, got {seed}")
    if start_step < 0:
        raise ValueError(f"start_step must not be negative, got {start_step}")
    examples = (
        grain.MapDataset.source(source)
        .shuffle(seed)
        .repeat()
        .random_map(transform or _image_only, seed=seed)
    )
    parts = _Parts(examples, batch_size, start_step, process)
    reading = grain.ReadOptions(num_threads=2, prefetch_buffer_size=PREFETCH)
    dataset = grain.MapDataset.source(parts).to_iter_dataset(reading)
    if num_workers and not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain's workers read absl flags, also outside absl.app.run
    workers = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2)
    reader = [iter(dataset.mp_prefetch(workers))]
    endless = _read(reader)
    weakref.finalize(endless, _stop, reader)  # at the latest on exit
    return endless


def _read(reader: list[Any]) -> Iterator[dict[str, np.ndarray]]:
    while True:
        # Copied, because workers hand over shared memory that they would otherwise run out of.
        yield {key: np.array(value) for key, value in next(reader[0]).items()}


def _stop(reader: list[Any]) -> None:
    """Ends the worker processes while the interpreter is still whole."""
    reader.pop().close()


class _Parts:
    """Item `i` is one process's part of the global batch of step `start_step + i`."""

    def __init__(
        self, examples: Any, batch_size: int, start_step: int, process: tuple[int, int]
    ) -> None:
        self._examples = examples
        self._batch_size, self._start_step = batch_size, start_step
        self._share = batch_size // process[1]
        self._offset = process[0] * self._share

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a process that reads: Ctrl-C reaches it too, but it is the trainer that stops."""
        vars(self).update(state)
        reads = multiprocessing.parent_process() is not None
        if reads and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def __len__(self) -> int:
        return 2**31  # steps; the examples themselves are endless

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        first = (self._start_step + index) * self._batch_size + self._offset
        return _stack([self._examples[first + i] for i in range(self._share)])


def _image_only(example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    del rng
    return {"image": example["image"]}


def _stack(examples: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    batch = {}
    for key in examples[0]:
        arrays = [np.asarray(example[key]) for example in examples]
        if arrays[0].dtype.kind not in "biuf":
            raise ValueError(
                f"the transform returned '{key}' as {type(examples[0][key]).__name__}; a batch "
                "holds arrays of numbers only"
            )
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise ValueError(f"'{key}' has several shapes in one batch: {sorted(shapes)}")
        batch[key] = np.stack(arrays)
    return batch
