"""`clipdiff verify`: what picture files tell of where they come from."""

import argparse
import dataclasses
from pathlib import Path

from clipdiff_jax.cli.saying import tell
from clipdiff_jax.cli.sources import image_files
from clipdiff_jax.pictures.provenance import Provenance, verify
from clipdiff_jax.pictures.records import Record, RecordError, read_records
from clipdiff_jax.pictures.saving import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures."""
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")


def run(args: argparse.Namespace) -> None:
    """A line for each picture, and below it what else it tells."""
    for path in image_files(args.images):
        try:
            found = verify(path)
        except (ValueError, OSError) as error:
            words = f"cannot be read: {error}"
            tell(f"{path}: {words}", pictures=[{"file": str(path), "state": None, "words": words}])
            continue
        record = _record(path)
        lines = [f"{path}: {found.words}", *(f"  {line}" for line in _details(found, record))]
        said = {"file": str(path), **dataclasses.asdict(found), "record": record}
        tell("\n".join(lines), pictures=[said])


def _details(found: Provenance, record: Record | None) -> list[str]:
    lines = []
    if found.source_type is not None:
        lines.append(f"source type: {found.source_type}")
    if found.actions:
        lines.append(f"actions: {', '.join(found.actions)}")
    if found.signer is not None:
        lines.append(f"signed by: {found.signer}")
    if record is not None:
        lines.append(f"record: {', '.join(record)}")
    return lines


def _record(path: Path) -> Record | None:
    """How the picture was made, where it says so."""
    try:
        return read_records(path)[0] if path.suffix.lower() in FORMATS else None
    except (RecordError, OSError):
        return None
