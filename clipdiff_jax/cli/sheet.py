"""`clipdiff sheet`: contact sheets of all the pictures in folders, thousands of them too."""

import argparse
from pathlib import Path

from clipdiff_jax.cli.arguments import check_between
from clipdiff_jax.cli.saying import note
from clipdiff_jax.cli.sources import image_files
from clipdiff_jax.core.files import free_path, write_whole
from clipdiff_jax.pictures.grid import is_grid
from clipdiff_jax.pictures.pages import GRID_SIDE, cell, sheets
from clipdiff_jax.pictures.records import RecordError, read_records

NAME = "sheet"
MOST = 32  # pictures along a side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, where the sheets go, and how many pictures a sheet has."""
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="FOLDER",
        help=f"folder for {NAME}.png, or {NAME}-1.png and so on (default: this one)",
    )  # fmt: skip
    parser.add_argument(
        "--side", type=int, default=GRID_SIDE, metavar="N",
        help=f"pictures along a side of a sheet ({GRID_SIDE})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """A caption below each picture: the text that it was drawn of, its edits and their strength,
    where it says so, and the name of its file."""
    check_between("--side", args.side, 1, MOST)
    found = [path for path in image_files(args.images) if not is_grid(path)]
    if not found:
        raise ValueError("there are no pictures to show, but for grids")
    captions = [_caption(path) for path in found]
    written = []
    for place, page in sheets(args.out / NAME, [cell(path) for path in found], captions, args.side):
        file = free_path(place.with_name(f"{place.name}.png"))
        write_whole(file, page.png())
        written.append(str(file))
    named = written[0] if len(written) == 1 else f"{written[0]} to {written[-1]}"
    note(f"{len(found)} pictures are in {named}", pictures=len(found), files=written)


def _caption(path: Path) -> str:
    try:
        record = read_records(path)[0]
    except (RecordError, OSError):
        return path.name
    said = [str(record["prompt"])] if record.get("prompt") else []
    said += [str(name) for name in record.get("edits", ())]
    if "strength" in record:
        said.append(f"strength {record['strength']}")
    return ", ".join([*said, path.name])
