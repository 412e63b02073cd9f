"""`clipdiff watermark calibrate`: how often pictures without a mark look as marked."""

import argparse
import dataclasses
from typing import get_args

from clipdiff_jax.cli.arguments import check_at_least
from clipdiff_jax.cli.saying import tell
from clipdiff_jax.cli.watermark.model import add_model, inversion, load_model, read_pictures
from clipdiff_jax.cli.watermark.new import add_places
from clipdiff_jax.diffusion.tree_ring import Pattern
from clipdiff_jax.pictures.watermark.detection import calibrate
from clipdiff_jax.pictures.watermark.key import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, the model, and what kind of keys are tried."""
    add_model(parser)
    parser.add_argument(
        "--keys", type=int, default=1000, metavar="N", help="keys drawn at random (1000)"
    )
    parser.add_argument(
        "--pattern", choices=get_args(Pattern), default="rand", help="of those keys (rand)"
    )
    add_places(parser)


def run(args: argparse.Namespace) -> None:
    """A table: for each level of p, how many of the pictures are below it."""
    check_at_least("--keys", args.keys, 1)
    names = ("pattern", "channel", "radius", "inner")
    kind = Key.new(**{name: getattr(args, name) for name in names})
    model = load_model(args)
    _, pictures = read_pictures(args)
    found = calibrate(pictures, model, kind, keys=args.keys, **inversion(args))
    lines = [
        f"{found.pictures} pictures without a mark, {found.keys} keys '{args.pattern}'",
        "p below   of all   of the worst key's",
    ]
    for level, rate, worst in zip(found.levels, found.rates, found.worst, strict=True):
        lines.append(f"{level:<8g}  {rate:<7.3g}  {worst:.3g}")
    lines.append(f"the smallest p is {found.least:.2g}")
    tell("\n".join(lines), pattern=args.pattern, **dataclasses.asdict(found))
