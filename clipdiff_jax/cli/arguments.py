"""Arguments that several commands share, and what they mean."""

import argparse
from pathlib import Path

from clipdiff_jax.core.request import Number
from clipdiff_jax.pictures.results import Existing, Results

DEMO = "demo"
OUT = "out"


def add_images(parser: argparse.ArgumentParser) -> None:
    """The pictures that a command starts from."""
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="what to do about pictures that cannot be read (default: name and skip them)",
    )  # fmt: skip


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model of a command that makes pictures, and its randomness."""
    parser.add_argument(
        "--model", default=DEMO, help="'demo' (default), a folder, or a repository of the Hub"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all randomness (0)"
    )
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32",
        help="dtype that networks compute in (float32)",
    )  # fmt: skip


def add_results(parser: argparse.ArgumentParser) -> None:
    """Where pictures go."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER",
        help=f"folder for the results (default: a new one in {OUT}/)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="pictures computed at once (16)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument(
        "--overwrite", action="store_true",
        help="replace pictures of an earlier run in the folder (default: refuse)",
    )  # fmt: skip
    existing.add_argument(
        "--skip-existing", action="store_true",
        help="go on with a run that was stopped: keep its pictures and make the rest",
    )  # fmt: skip


def check_results(args: argparse.Namespace) -> None:
    """Raises `ValueError` for a batch size or a seed that cannot be."""
    check_at_least("--batch-size", args.batch_size, 1)
    if hasattr(args, "seed"):
        check_between("--seed", args.seed, 0, 2**63 - 1)


def check_at_least(option: str, value: int, low: int) -> None:
    """Raises `ValueError` for a number below `low`."""
    if value < low:
        raise ValueError(f"{option} must be at least {low}, got {value}")


def check_between(option: str, value: Number, low: Number, high: Number) -> None:
    """Raises `ValueError` for a number that is not from `low` to `high`."""
    if not low <= value <= high:
        raise ValueError(f"{option} {value:g}, expected a number from {low} to {high}")


def results_of(args: argparse.Namespace, command: str) -> Results:
    """The folder given, or the first of "out/COMMAND-1", "out/COMMAND-2" that does not exist."""
    existing: Existing = (
        "overwrite" if args.overwrite else "skip" if args.skip_existing else "refuse"
    )
    if args.out is not None:
        return Results(Path(args.out), existing)
    number = 1
    while (folder := Path(OUT) / f"{command}-{number}").exists():
        number += 1
    return Results(folder, existing)


def place(source: str | Path) -> str:
    """What a record says of a model: its absolute path, or the name that it has elsewhere."""
    path = Path(source)
    return str(path.resolve()) if path.exists() else str(source)


def free_name(stem: str, taken: set[str], ending: str = "png") -> str:
    """A file name not in `taken`, which it joins."""
    name, number = f"{stem}.{ending}", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.{ending}"
    taken.add(name)
    return name
