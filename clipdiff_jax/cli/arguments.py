"""Arguments that several commands share, and what they mean."""

import argparse
from pathlib import Path
from typing import TypeVar, get_args

from clipdiff_jax.core.config import ConfigError, from_dict, to_dict
from clipdiff_jax.core.keys import HIGHEST_SEED
from clipdiff_jax.core.request import Number
from clipdiff_jax.core.types import DTypeName
from clipdiff_jax.data.named import data_of
from clipdiff_jax.pictures.results import Existing, Results
from clipdiff_jax.pictures.saving import PLAIN, Format, Saving
from clipdiff_jax.pictures.signing import Signer

DEMO = "demo"
OUT = "out"
D = TypeVar("D")
DTYPES = get_args(DTypeName)


def add_images(parser: argparse.ArgumentParser) -> None:
    """The pictures that a command starts from."""
    parser.add_argument("images", nargs="+", type=Path, help="pictures, or folders of them")
    parser.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip",
        help="what to do about pictures that cannot be read (default: name and skip them)",
    )  # fmt: skip


def add_model(parser: argparse.ArgumentParser, default: str | None = DEMO) -> None:
    """The model of a command that makes pictures, and its randomness.

    default: None for a command that finds it by what else is given.
    """
    parser.add_argument(
        "--model", default=default,
        help="'demo', a folder, or a repository of the Hub (default: "
        + ("the edit's own)" if default is None else f"{default})"),
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all randomness (0)"
    )
    add_dtype(parser)


def add_dtype(parser: argparse.ArgumentParser) -> None:
    """What networks compute in."""
    parser.add_argument(
        "--dtype", choices=DTYPES, default=DTYPES[0],
        help="dtype that networks compute in (float32)",
    )  # fmt: skip


def add_data(parser: argparse.ArgumentParser) -> None:
    """The data of a recipe, by name."""
    parser.add_argument(
        "--data", metavar="DATA",
        help="a folder of pictures, 'avatars', or a data set of tensorflow-datasets such as "
        "celeb_a_hq/256:train[:70%%] (default: the recipe's)",
    )  # fmt: skip


def with_data(config: D, name: str) -> D:
    """A config with other data. Raises `ConfigError` for one that has none."""
    if not hasattr(config, "data"):
        raise ConfigError(f"{type(config).__name__} has no data: leave out --data")
    tree = to_dict(config) | {"data": to_dict(data_of(name, config.data))}
    return from_dict(type(config), tree)  # which checks the kind of data


def add_out(parser: argparse.ArgumentParser) -> None:
    """The folder for results, where it need not be given."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER",
        help=f"folder for the results (default: a new one in {OUT}/)",
    )  # fmt: skip


def add_results(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """Where pictures go, and as what; again: those that are made again are what they were."""
    add_out(parser)
    if not again:
        parser.add_argument(
            "--format", choices=get_args(Format), default=PLAIN.format,
            help=f"format of pictures and grids; all but png lose a little ({PLAIN.format})",
        )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="pictures computed at once (16)"
    )
    said = parser.add_argument_group("what pictures say of themselves")
    said.add_argument(
        "--no-label", action="store_true",
        help="not that a model made them (IPTC's digital source type)",
    )  # fmt: skip
    said.add_argument(
        "--no-record", action="store_true",
        help="not how they were made: no record inside, no manifest.jsonl; `remake` needs one",
    )  # fmt: skip
    said.add_argument(
        "--sign", nargs=2, type=Path, metavar=("CERTIFICATE", "KEY"),
        help="also a signed C2PA manifest; PEM files of yours; needs clipdiff-jax[provenance]",
    )  # fmt: skip
    said.add_argument(
        "--publish-prompt", action="store_true", help="repeat the prompt in that manifest"
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
    """Raises `ValueError` for a batch size or a seed that cannot be, and options that do not go
    together."""
    check_at_least("--batch-size", args.batch_size, 1)
    if args.publish_prompt and args.sign is None:
        raise ValueError("--publish-prompt is of a signed manifest: give --sign")
    if args.no_record and (args.overwrite or args.skip_existing):
        name = "--overwrite" if args.overwrite else "--skip-existing"
        raise ValueError(f"{name} knows pictures by their records: leave out --no-record")
    if hasattr(args, "seed"):
        check_between("--seed", args.seed, 0, HIGHEST_SEED)


def check_at_least(option: str, value: int, low: int) -> None:
    """Raises `ValueError` for a number below `low`."""
    if value < low:
        raise ValueError(f"{option} must be at least {low}, got {value}")


def check_between(option: str, value: Number, low: Number, high: Number) -> None:
    """Raises `ValueError` for a number that is not from `low` to `high`."""
    if not low <= value <= high:
        shown = str(value) if isinstance(value, int) else f"{value:g}"
        raise ValueError(f"{option} {shown}, expected a number from {low} to {high}")


def results_of(args: argparse.Namespace, command: str) -> Results:
    """The folder given, or a new one, and what is done about pictures in it."""
    existing: Existing = (
        "overwrite" if args.overwrite else "skip" if args.skip_existing else "refuse"
    )
    saving = saving_of(args)
    folder = new_folder(command) if args.out is None else Path(args.out)
    return Results(folder, existing, saving)


def new_folder(command: str) -> Path:
    """The first of "out/COMMAND-1", "out/COMMAND-2" that does not exist."""
    number = 1
    while (folder := Path(OUT) / f"{command}-{number}").exists():
        number += 1
    return folder


def saving_of(args: argparse.Namespace) -> Saving:
    """What pictures say of themselves.

    Raises `ProvenanceError` for a certificate that cannot sign.
    """
    return Saving(
        label=not args.no_label,
        record=not args.no_record,
        publish_prompt=args.publish_prompt,
        signer=None if args.sign is None else Signer.from_files(*args.sign),
        format=getattr(args, "format", PLAIN.format),
    )


def name_of(source: str | Path) -> str:
    """What a record says of a model or an edit: "demo", the id of a repository, or of a path the
    last part alone. Its fingerprint, which the record has too, says which one it was."""
    path = Path(source).expanduser()
    return path.resolve().name if path.exists() else str(source)


def free_name(stem: str, taken: set[str], ending: str) -> str:
    """A file name not in `taken`, which it joins."""
    name, number = f"{stem}.{ending}", 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}.{ending}"
    taken.add(name)
    return name
