"""`clipdiff remake`: pictures made again from the records that say how they were made."""

import argparse
import importlib
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from clipdiff_jax.cli.arguments import add_results, check_results, results_of
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.paths import SECOND
from clipdiff_jax.cli.sources import Sources, digest, read_source
from clipdiff_jax.core.config import nearest
from clipdiff_jax.pictures.records import Record, RecordError, read_records

COMMAND = "remake"
_NEEDED = ("model", "model_fingerprint", "dtype", "seed", "index")
_SOURCE = ("source", "source_sha256")
_SECOND = tuple(f"{SECOND}{name}" for name in _SOURCE)
# The commands, and what their records need beside that.
_MADE_BY = {
    "generate": (),
    "edit": ("edits", "edit_fingerprints", "strength", *_SOURCE),
    "vary": _SOURCE,
    "interpolate": ("theta", "latents", *_SOURCE, *_SECOND),
    "textdiff": ("theta", "source_text", "target_text", *_SOURCE),
    "reconstruct": ("dims", *_SOURCE),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The records, and where the pictures go."""
    parser.add_argument("records", type=Path, help="a manifest.jsonl, its folder, or one PNG")
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Makes every picture again; refuses where a model or a picture is not what it was."""
    check_results(args)
    records = read_records(args.records)
    for record in records:
        _check_fields(record)
        _check_sources(record)
    jobs = list(_jobs(records))
    make(jobs, results_of(args, COMMAND), args.batch_size)


def _jobs(records: Sequence[Record]) -> Iterator[Job]:
    """The records with what makes them; each set of models is loaded once."""
    makers: dict[Any, Maker] = {}
    for key, group in groupby(records, _models):
        chosen = list(group)
        if key not in makers:
            makers[key] = _maker_of(chosen[0])(chosen[0])
        for record in chosen:
            _check_models(record, makers[key])
        yield Job(makers[key], chosen, _sources(chosen, makers[key]))


def _models(record: Record) -> tuple[Any, ...]:
    """What a record says of the models that made it."""
    edits = tuple(record.get("edits", ()))
    return record["command"], "prompt" in record, record["model"], record["dtype"], edits


def _maker_of(record: Record) -> Callable[[Record], Maker]:
    """What loads the models of a record."""
    module = importlib.import_module(f"clipdiff_jax.cli.{record['command']}")
    load: Callable[[Record], Maker] = module.maker_of
    return load


def _sources(records: Sequence[Record], maker: Maker) -> Sources:
    """The pictures that records name."""
    if maker.size is None:
        return {}
    names = (f"{SECOND}source", "source")
    paths = {record[name] for record in records for name in names if name in record}
    return {path: read_source(Path(path), maker.size) for path in sorted(paths)}


def _check_fields(record: Record) -> None:
    """Raises `RecordError` for a record of an unknown command, or without what it needs."""
    command, file = record["command"], record["file"]
    if command not in _MADE_BY:
        raise RecordError(
            f"'{file}' was made by '{command}', not one of {', '.join(_MADE_BY)}."
            f"{nearest(str(command), _MADE_BY)}"
        )
    missing = [name for name in (*_NEEDED, *_MADE_BY[command]) if name not in record]
    if missing:
        raise RecordError(f"the record of '{file}' lacks {', '.join(missing)}")


def _check_sources(record: Record) -> None:
    """Raises `ValueError` where a picture that a record names is not what it was."""
    for name in ("source", f"{SECOND}source"):
        if name in record:
            _check(record, record[name], digest(Path(record[name])), record[f"{name}_sha256"])


def _check_models(record: Record, maker: Maker) -> None:
    """Raises `ValueError` where a model that a record names is not what it was."""
    places = {"model_fingerprint": [record["model"]], "edit_fingerprints": record.get("edits", [])}
    for name, now in maker.fingerprints.items():
        both = ([one] if isinstance(one, str) else one for one in (now, record[name]))
        for path, found, then in zip(places[name], *both, strict=True):
            _check(record, path, found, then)


def _check(record: Record, path: str, now: str, then: str) -> None:
    if now != then:
        raise ValueError(
            f"'{path}' has changed since '{record['file']}' was made: {now}, was {then}"
        )
