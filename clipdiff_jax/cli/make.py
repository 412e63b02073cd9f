"""From records to pictures: those of one setting are computed together, in batches of one size."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from clipdiff_jax.cli.saying import note
from clipdiff_jax.cli.sources import DIGEST, Sources
from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.progress import counter
from clipdiff_jax.pictures.records import MANIFEST, Record
from clipdiff_jax.pictures.results import Results


@dataclass(frozen=True)
class Maker:
    """Loaded models, and what they make of records that name them.

    Attributes:
      compute: records of one setting, and the pictures that they name -> pictures in [-1, 1], as
        one array, or one after another where they differ in size.
      fingerprints: the fields of those records that say which models these are.
      own: the fields in which records of one setting may differ.
      size: side of the pictures that it sees; None where records name none.
    """

    compute: Callable[[Sequence[Record], Sources], jax.Array | Iterator[np.ndarray]]
    fingerprints: Mapping[str, Any]
    own: tuple[str, ...]
    size: int | None = None


class Job(NamedTuple):
    """Records, what makes their pictures, and the pictures that they name."""

    maker: Maker
    records: Sequence[Record]
    sources: Sources


def make(jobs: Sequence[Job], results: Results, batch_size: int) -> None:
    """Computes the pictures of the records that remain to be made, and saves them as they are.

    Raises what `Results.remaining` raises, before anything is computed. Where it is stopped
    meanwhile, what is raised says what is there.
    """
    records = [record for job in jobs for record in job.records]
    sources = [source.path for job in jobs for source in job.sources.values()]
    left = {id(record) for record in results.remaining(records, sources)}
    todo = [
        job._replace(records=[record for record in job.records if id(record) in left])
        for job in jobs
    ]
    settings = [(job, setting) for job in todo for setting in _settings(job)]
    size = min(batch_size, max((len(setting) for _, setting in settings), default=1))
    made = 0
    try:
        with counter("pictures", total=len(left), unit="img") as counted:
            for job, setting in settings:
                for batch, count in filled_batches(setting, size):
                    images = job.maker.compute(batch, job.sources)
                    if isinstance(images, jax.Array):
                        images = iter(np.asarray(images))
                    for record, image in zip(batch[:count], images, strict=False):
                        results.save(record, image, _files(record, job.sources))
                        made += 1
                    counted.update(count)
    except KeyboardInterrupt as stop:
        raise type(stop)(
            f"{made} of {len(left)} pictures are in '{results.folder}'; the same command with "
            "--skip-existing makes the rest"
        ) from stop
    results.finish(records)
    kept = f" ({len(records) - len(left)} were there)" if len(left) < len(records) else ""
    told = f" and {MANIFEST}" if results.saving.record else ""
    note(
        f"{len(left)} pictures{kept}{told} are in '{results.folder}'",
        folder=str(results.folder),
        pictures=[str(results.folder / record["file"]) for record in records],
        made=len(left),
        kept=len(records) - len(left),
        manifest=str(results.folder / MANIFEST) if told else None,
    )


def _files(record: Record, sources: Sources) -> list[Path]:
    """The files that a picture is made from, the one that it changes first."""
    fields = sorted((name for name in record if name.endswith(DIGEST)), key=len)
    return [sources[record[name]].path for name in fields if record[name] in sources]


def _settings(job: Job) -> Iterator[list[Record]]:
    """Runs of records that differ in what is one picture's own only."""

    def setting(record: Record) -> Record:
        return {name: value for name, value in record.items() if name not in job.maker.own}

    run: list[Record] = []
    for record in job.records:
        if run and setting(record) != setting(run[0]):
            yield run
            run = []
        run.append(record)
    if run:
        yield run
