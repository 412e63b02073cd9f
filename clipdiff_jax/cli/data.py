"""`clipdiff data`: avatars as an ordinary image folder, with captions.

    clipdiff data --split test --count 8 --only mouth=serious --out faces/

The folder is what `FolderData` reads and `clipdiff edit` takes.
"""

import argparse
from pathlib import Path
from typing import get_args

from clipdiff_jax.cli.arguments import check_at_least
from clipdiff_jax.data.avatars.export import export
from clipdiff_jax.data.avatars.faces import Split
from clipdiff_jax.data.avatars.source import AvatarsData


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which faces, how many, and where to."""
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument(
        "--split", choices=get_args(Split), default="test", help="split of the faces (test)"
    )
    parser.add_argument("--size", type=int, default=64, help="pixels along a side (64)")
    parser.add_argument("--count", type=int, default=8, help="how many faces (8)")
    parser.add_argument("--styles", nargs="+", default=["avataaars"], help="art styles (avataaars)")
    parser.add_argument("--only", nargs="*", default=[], help="conditions: attribute=word|word")


def run(args: argparse.Namespace) -> None:
    """Writes the folder."""
    check_at_least("--count", args.count, 1)
    # Conditions may fit few: look through fifty faces for each one wanted.
    config = AvatarsData(
        size=args.size,
        split=args.split,
        count=args.count * (50 if args.only else 1),
        styles=tuple(args.styles),
    )
    print(f"{export(config, args.count, args.only, args.out)} faces in {args.out}")
