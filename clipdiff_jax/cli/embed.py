"""`clipdiff embed`: the pictures of a data set as CLIP embeddings, computed once.

clipdiff embed --config unclip/avatars/embed --out runs/embeddings
"""

import argparse
from pathlib import Path

from clipdiff_jax.cli.arguments import add_data, with_data
from clipdiff_jax.cli.saying import note
from clipdiff_jax.clip.embed import EmbedConfig, embed
from clipdiff_jax.core.config import apply_overrides
from clipdiff_jax.core.devices import announce_devices
from clipdiff_jax.core.recipes import load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe, its overrides, and where to."""
    parser.add_argument(
        "--config", required=True, metavar="RECIPE",
        help="an EmbedConfig by name, such as unclip/avatars/embed, or the path of your own",
    )  # fmt: skip
    add_data(parser)
    parser.add_argument("--out", required=True, type=Path, help="the folder to write")


def run(args: argparse.Namespace) -> None:
    """Writes the embeddings."""
    config = load_config(args.config, EmbedConfig)
    if args.data is not None:
        config = with_data(config, args.data)
    announce_devices()
    info = embed(apply_overrides(config, args.overrides), args.out)
    said = f"{info.count} embeddings of width {info.width} in {args.out}"
    note(said, folder=str(args.out), count=info.count, width=info.width)
