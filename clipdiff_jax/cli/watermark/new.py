"""`clipdiff watermark new`: a key, in a file for its owner's eyes alone."""

import argparse
from pathlib import Path
from typing import get_args

from clipdiff_jax.cli.saying import note
from clipdiff_jax.diffusion.tree_ring import Pattern
from clipdiff_jax.pictures.watermark.key import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the key goes, and what it says of the mark."""
    parser.add_argument("file", type=Path, help="where the key goes; nothing is overwritten")
    parser.add_argument(
        "--pattern", choices=get_args(Pattern), default="rand",
        help="rand: strongest, says whose mark it is (default); ring: outlives mirroring, and says "
        "only that there is one",
    )  # fmt: skip
    add_places(parser)
    parser.add_argument(
        "--steps", type=int, metavar="N", help="allow this many steps of generation alone"
    )
    parser.add_argument(
        "--size", type=int, metavar="N", help="allow pictures of this many pixels a side alone"
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Where in the noise a mark is."""
    parser.add_argument(
        "--channel", type=int, metavar="N",
        help="of the noise, from 0 or from the end (the last of latents, the mean of pixels)",
    )  # fmt: skip
    parser.add_argument(
        "--radius", type=int, metavar="N",
        help="highest frequency, in cycles a picture (13 of 64, of latents 10)",
    )  # fmt: skip
    parser.add_argument(
        "--inner", type=int, metavar="N",
        help="frequencies up to it are left alone (0.4 of the radius; 0 of latents)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Draws the key."""
    names = ("pattern", "channel", "radius", "inner", "steps", "size")
    mark = Key.new(**{name: getattr(args, name) for name in names})
    mark.save(args.file)
    said = f"'{args.file}' is the key {mark.fingerprint}: keep it, and keep it to yourself"
    note(said, file=str(args.file), fingerprint=mark.fingerprint)
