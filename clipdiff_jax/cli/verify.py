"""`clipdiff verify`: what picture files tell of where they come from."""

import argparse
from pathlib import Path

from clipdiff_jax.cli.sources import image_files
from clipdiff_jax.pictures.provenance import Provenance, verify
from clipdiff_jax.pictures.records import RecordError, read_records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures."""
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")


def run(args: argparse.Namespace) -> None:
    """A line for each picture, and below it what else it tells."""
    for path in image_files(args.images):
        try:
            found = verify(path)
        except (ValueError, OSError) as error:
            print(f"{path}: cannot be read: {error}")
            continue
        print(f"{path}: {found.words}")
        for line in _details(path, found):
            print(f"  {line}")


def _details(path: Path, found: Provenance) -> list[str]:
    lines = []
    if found.source_type is not None:
        lines.append(f"source type: {found.source_type}")
    if found.actions:
        lines.append(f"actions: {', '.join(found.actions)}")
    if found.signer is not None:
        lines.append(f"signed by: {found.signer}")
    if path.suffix.lower() == ".png":
        try:
            (record, *_) = read_records(path)
        except (RecordError, OSError):
            return lines
        lines.append(f"record: {', '.join(record)}")
    return lines
