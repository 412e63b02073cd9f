"""`clipdiff data`: avatars as an ordinary image folder, with captions; data sets of others.

    clipdiff data --split test --count 8 --only mouth=serious --out faces/
    clipdiff data prepare celeb_a_hq/256

The folder is what `FolderData` reads and `clipdiff edit` takes. Prepared is a data set of
tensorflow-datasets, as array records, which `TfdsData` reads; TensorFlow is not needed.
"""

import argparse
from pathlib import Path
from typing import get_args

from clipdiff_jax.cli.arguments import check_at_least
from clipdiff_jax.cli.saying import note
from clipdiff_jax.data.avatars.export import export
from clipdiff_jax.data.avatars.faces import Split
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.tfds_source import prepare_tfds

_WHAT = ("avatars", "prepare")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which faces, how many, and where to."""
    parser.add_argument(
        "what", nargs="?", choices=_WHAT, default=_WHAT[0],
        help="write avatars (default), or prepare a data set of tensorflow-datasets",
    )  # fmt: skip
    parser.add_argument("name", nargs="?", help="of the data set, such as celeb_a_hq/256")
    parser.add_argument(
        "--data-dir", metavar="FOLDER",
        help="where prepared data sets lie (tensorflow-datasets' own folder)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="the folder to write avatars to")
    parser.add_argument(
        "--split", choices=get_args(Split), default="test", help="split of the faces (test)"
    )
    parser.add_argument("--size", type=int, default=64, help="pixels along a side (64)")
    parser.add_argument("--count", type=int, default=8, help="how many faces (8)")
    parser.add_argument("--styles", nargs="+", default=["avataaars"], help="art styles (avataaars)")
    parser.add_argument("--only", nargs="*", default=[], help="conditions: attribute=word|word")


def run(args: argparse.Namespace) -> None:
    """Writes the folder, or prepares the data set."""
    if args.what == "prepare":
        if args.name is None or args.out is not None:
            raise ValueError("give the name of a data set, such as: clipdiff data prepare mnist")
        folder, counts = prepare_tfds(args.name, args.data_dir)
        splits = ", ".join(f"{name}: {count}" for name, count in counts.items())
        said = f"'{args.name}' is prepared in '{folder}' ({splits})"
        return note(said, name=args.name, folder=str(folder), examples=counts)
    if args.name is not None or args.data_dir is not None:
        raise ValueError("a name and --data-dir are of `clipdiff data prepare`")
    if args.out is None:
        raise ValueError("--out is needed: the folder to write avatars to")
    check_at_least("--count", args.count, 1)
    check_at_least("--size", args.size, 1)
    # Conditions may fit few: look through fifty faces for each one wanted.
    config = AvatarsData(
        size=args.size,
        split=args.split,
        count=args.count * (50 if args.only else 1),
        styles=tuple(args.styles),
    )
    count = export(config, args.count, args.only, args.out)
    note(f"{count} faces in {args.out}", folder=str(args.out), faces=count)
