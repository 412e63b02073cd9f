"""The watermark keys that commands are given, and what records say of them."""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from clipdiff_jax.pictures.records import Record, RecordError
from clipdiff_jax.pictures.watermark.key import Key

MARK = "watermark"  # the field of a record with the fingerprint of the key
PLACE = "watermark_key"  # the field of an opened record with the key's file; never written


def add_watermark(parser: argparse._ActionsContainer) -> None:
    """The key of a command that draws pictures."""
    parser.add_argument(
        "--watermark", type=Path, metavar="FILE",
        help="put the mark of this key into every picture (`clipdiff watermark new` makes one); "
        "needs a sampler without noise of its own",
    )  # fmt: skip


def mark_of(args: argparse.Namespace) -> Key | None:
    """The key that the command line names."""
    return None if args.watermark is None else Key.load(args.watermark)


def mark_in(opened: Record) -> Key | None:
    """The key of a record that is made again."""
    return Key.load(opened[PLACE]) if PLACE in opened else None


def marked(mark: Key | None) -> dict[str, Any]:
    """What records, and the fingerprints of a maker, say of a key."""
    return {} if mark is None else {MARK: mark.fingerprint}


def by_fingerprint(paths: Iterable[Path]) -> dict[str, Path]:
    """The files of keys by what records say of them."""
    return {Key.load(path).fingerprint: path for path in paths}


def key_place(record: Record, given: dict[str, Path]) -> dict[str, Any]:
    """The field of an opened record that says where its key is.

    Raises `RecordError` where it is not given.
    """
    if MARK not in record:
        return {}
    if record[MARK] not in given:
        others: Sequence[str] = sorted(given)
        instead = f", not {', '.join(others)}" if others else ""
        raise RecordError(
            f"'{record['file']}' has a watermark of the key {record[MARK]}: give its file by "
            f"--watermark{instead}"
        )
    return {PLACE: str(given[record[MARK]])}
