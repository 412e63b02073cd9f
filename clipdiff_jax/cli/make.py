"""From records to pictures: those of one setting are computed together, in batches of one size."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.pictures.records import Record, add_to_manifest, save_picture


@dataclass(frozen=True)
class Kind:
    """The pictures that one subcommand makes.

    Attributes:
      compute: records of one setting -> their pictures in [-1, 1].
      fingerprint: (model, dtype) as in the records -> the hash of the model's parameters.
      own: the fields in which records of one setting may differ.
    """

    compute: Callable[[Sequence[Record]], jax.Array]
    fingerprint: Callable[[str, str], str]
    own: tuple[str, ...]


def make(
    records: Sequence[Record], kind_of: Callable[[Record], Kind], out: Path, batch_size: int
) -> None:
    """Computes and saves the picture of every record, and the manifest."""
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")
    out.mkdir(parents=True, exist_ok=True)
    settings = list(_settings(records, kind_of))
    size = min(batch_size, max(len(setting) for setting in settings))
    with tqdm(total=len(records), unit="img") as bar:
        for setting in settings:
            for batch, count in filled_batches(setting, size):
                images = np.asarray(kind_of(batch[0]).compute(batch))
                for record, image in zip(batch[:count], images[:count], strict=True):
                    save_picture(out / record["file"], image, record)
                bar.update(count)
    manifest = add_to_manifest(out, records)
    print(f"{len(records)} pictures and {manifest.name} are in '{out}'")


def _settings(
    records: Sequence[Record], kind_of: Callable[[Record], Kind]
) -> Iterator[list[Record]]:
    """Runs of records that differ in what is one picture's own only."""

    def setting(record: Record) -> Record:
        own = kind_of(record).own
        return {name: value for name, value in record.items() if name not in own}

    run: list[Record] = []
    for record in records:
        if run and setting(record) != setting(run[0]):
            yield run
            run = []
        run.append(record)
    yield run
