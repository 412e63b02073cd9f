"""`clipdiff remake`: pictures made again from the records that say how they were made.

Records come with pictures from anywhere, so a name in one opens nothing by itself: models, edits
and pictures are opened where the command line names them, and by what records say only where it
allows that. Hashes in the record say whether they are what they were.
"""

import argparse
import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from clipdiff_jax.cli.arguments import DEMO, add_results, check_results, name_of, results_of
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.marks import MARK, PLACE, by_fingerprint, key_place
from clipdiff_jax.cli.paths import SECOND
from clipdiff_jax.cli.recorded import check_record
from clipdiff_jax.cli.sources import (
    DIGEST,
    Sources,
    by_digest,
    digest,
    image_files,
    read_source,
    squares_of,
)
from clipdiff_jax.data.alignment import FaceSquare
from clipdiff_jax.edit.model import is_ready
from clipdiff_jax.pictures.records import Record, RecordError, read_records

COMMAND = "remake"
_ALLOW = "--allow-sources"
_LISTS = ("edits", "clips")  # fields of records that may name several models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The records, what they may open, and where the pictures go."""
    parser.add_argument("records", type=Path, help="a manifest.jsonl, its folder, or one picture")
    group = parser.add_argument_group("what was used, which records name but do not hold")
    group.add_argument(
        "--model", action="append", default=[], metavar="MODEL",
        help="the model, unless it is 'demo'; repeat it where records name several",
    )  # fmt: skip
    group.add_argument(
        "--edit", action="append", default=[], metavar="FOLDER", help="the edit; the same"
    )
    group.add_argument(
        "--clip", action="append", default=[], metavar="CLIP", help="the CLIP that guided; the same"
    )
    group.add_argument(
        "--sources", nargs="+", type=Path, default=[], metavar="PATH",
        help="the pictures that were edited or varied, or folders with them: found by content",
    )  # fmt: skip
    group.add_argument(
        "--watermark", action="append", type=Path, default=[], metavar="FILE",
        help="the key of the watermark; the same",
    )  # fmt: skip
    group.add_argument(
        _ALLOW, action="store_true",
        help="open whatever paths and repositories the records name; for records of your own",
    )  # fmt: skip
    add_results(parser, again=True)


def run(args: argparse.Namespace) -> None:
    """Makes every picture again; refuses where a model or a picture is not what it was."""
    check_results(args)
    records = read_records(args.records)
    for record in records:
        check_record(record)
    lists = {"edits": args.edit, "clips": args.clip}
    named = Named(args.model, lists, _by_content(args.sources), args.allow_sources)
    marks = by_fingerprint(args.watermark)
    opened = [named.opened(record) | key_place(record, marks) for record in records]
    files = [named.files(record) for record in records]
    jobs = list(_jobs(records, opened, files))
    make(jobs, results_of(args, COMMAND), args.batch_size)


@dataclass(frozen=True)
class Named:
    """What the command line names.

    Attributes:
      models: as they are loaded.
      lists: the same of edits and CLIPs, of which a record may name several, by that field.
      sources: pictures by their digest.
      anything: whether what records name may be opened as well.
    """

    models: Sequence[str]
    lists: Mapping[str, Sequence[str]]
    sources: Mapping[str, Path]
    anything: bool

    def opened(self, record: Record) -> Record:
        """A record with the places of its models and edits. Raises `RecordError` for others."""
        places: dict[str, Any] = {
            "model": self._place(record, [record["model"]], 0, self.models, "--model")
        }
        for field in _LISTS:
            given = self.lists.get(field, ())
            if names := record.get(field, []):
                option = f"--{field.removesuffix('s')}"
                places[field] = [
                    self._place(record, names, index, given, option) for index in range(len(names))
                ]
        return {**record, **places}

    def files(self, record: Record) -> dict[str, Path]:
        """The pictures that a record is made of, by digest. Raises `RecordError` for one that is
        not named, `ValueError` for one that has changed."""
        found = {}
        for field in ("source", f"{SECOND}source"):
            if field not in record:
                continue
            name, wanted = record[field], record[f"{field}_sha256"]
            path = self.sources.get(wanted)
            if path is None:
                path = self._changed(name) or (Path(name) if self.anything else None)
                if path is None:
                    raise RecordError(
                        f"'{record['file']}' was made of the picture '{name}': give it by "
                        f"--sources, or {_ALLOW} to open whatever the records name"
                    )
                _check(record, str(path), digest(path), wanted)
            found[wanted] = path
        return found

    def _changed(self, name: str) -> Path | None:
        """A picture that was given under this name, with another content."""
        return next((p for p in self.sources.values() if p.name == Path(name).name), None)

    def _place(
        self, record: Record, names: Sequence[str], index: int, given: Sequence[str], option: str
    ) -> str:
        """Where the `index`-th of what a record names is to be opened."""
        name = names[index]
        if name == DEMO or is_ready(name):
            return name
        fits = [one for one in given if Path(name_of(one)).name == Path(name).name]
        if len(fits) != 1 and len(given) == len(names):
            return given[index]  # moved or renamed: its fingerprint is checked
        if fits:
            return fits[0]
        if self.anything:
            return name
        raise RecordError(
            f"'{record['file']}' was made with '{name}': give it by {option}, or {_ALLOW} to open "
            "whatever the records name"
        )


def _by_content(paths: Sequence[Path]) -> dict[str, Path]:
    """The pictures given, by digest."""
    return {digest(path): path for path in image_files(paths)}


def _jobs(
    records: Sequence[Record], opened: Sequence[Record], files: Sequence[Mapping[str, Path]]
) -> Iterator[Job]:
    """The records with what makes them; each set of models is loaded once.

    opened: the same with the places of their models. files: the pictures of each.
    """
    makers: dict[Any, Maker] = {}
    together = zip(records, opened, files, strict=True)
    for key, group in groupby(together, lambda one: _models(one[1])):
        chosen = list(group)
        if key not in makers:
            makers[key] = _maker_of(chosen[0][1])(chosen[0][1])
        for record, _, _ in chosen:
            _check_models(record, makers[key])
        said = [_without_paths(record) for record, _, _ in chosen]
        named = [(record, found) for record, _, found in chosen]
        yield Job(makers[key], said, _sources(named, makers[key]))


def _models(record: Record) -> tuple[Any, ...]:
    """What makes a record."""
    lists = (tuple(record.get(field, ())) for field in _LISTS)
    made = record["command"], "prompt" in record, record["model"], record["dtype"]
    return *made, record.get(PLACE), *lists


def _maker_of(record: Record) -> Callable[[Record], Maker]:
    """What loads the models of a record."""
    module = importlib.import_module(f"clipdiff_jax.cli.{record['command']}")
    load: Callable[[Record], Maker] = module.maker_of
    return load


def _sources(named: Sequence[tuple[Record, Mapping[str, Path]]], maker: Maker) -> Sources:
    """The pictures that records are made of, at the size of the model.

    named: each record with its pictures by digest.
    """
    if maker.size is None:
        return {}
    wanted: dict[tuple[Path, tuple[FaceSquare, ...]], None] = {}
    for record, paths in named:
        for one, path in paths.items():
            squares = squares_of(record) if one == record.get(DIGEST) else ()
            wanted[path, squares] = None
    return by_digest([read_source(path, maker.size, squares) for path, squares in wanted])


def _without_paths(record: Record) -> Record:
    """A record as it is written today; older ones had absolute paths."""

    def shown(value: Any) -> Any:
        return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

    places = {name: shown(record[name]) for name in ("source", f"{SECOND}source", "model")
              if name in record}  # fmt: skip
    for field in _LISTS:
        if field in record:
            places[field] = [shown(one) for one in record[field]]
    return {**record, **places}


def _check_models(record: Record, maker: Maker) -> None:
    """Raises `ValueError` where a model that a record names is not what it was."""
    places = {
        "model_fingerprint": [record["model"]],
        "edit_fingerprints": record.get("edits", []),
        "clip_fingerprints": record.get("clips", []),
        MARK: ["the watermark key"],
    }
    for name, now in maker.fingerprints.items():
        both = ([one] if isinstance(one, str) else one for one in (now, record[name]))
        for path, found, then in zip(places[name], *both, strict=True):
            _check(record, path, found, then)


def _check(record: Record, path: str, now: str, then: str) -> None:
    if now != then:
        raise ValueError(
            f"'{path}' has changed since '{record['file']}' was made: {now}, was {then}"
        )
