"""`clipdiff watermark detect`: which pictures have the mark of a key."""

import argparse
from pathlib import Path

from clipdiff_jax.cli.saying import tell
from clipdiff_jax.cli.watermark.model import add_model, inversion, load_model, read_pictures
from clipdiff_jax.pictures.watermark.detection import THRESHOLD, detect
from clipdiff_jax.pictures.watermark.key import Key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, the key and the model."""
    add_model(parser)
    parser.add_argument("--watermark", type=Path, required=True, metavar="FILE", help="the key")
    parser.add_argument(
        "--search", action="store_true",
        help="look also for cut and mirrored pictures: about ten times the work",
    )  # fmt: skip
    parser.add_argument(
        "--threshold", type=float, default=THRESHOLD, metavar="P",
        help=f"p below which a picture counts as marked ({THRESHOLD:g})",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """One line for each picture, and how many have the mark."""
    if not 0 < args.threshold < 1:
        raise ValueError(f"--threshold {args.threshold:g}, expected a number between 0 and 1")
    mark = Key.load(args.watermark)
    model = load_model(args)
    files, pictures = read_pictures(args)
    found = detect(pictures, model, mark, search=args.search, **inversion(args))
    for path, one in zip(files, found, strict=True):
        seen = "marked" if one.p < args.threshold else "not found"
        taken = f", taken for {one.transform}" if args.search else ""
        tell(
            f"{seen:<9}  p {one.p:<8.2g} correlation {one.correlation:6.3f}{taken}  {path}",
            pictures=[{"file": str(path), **one._asdict(), "marked": bool(one.p < args.threshold)}],
        )
    count = sum(one.p < args.threshold for one in found)
    tell(
        f"{count} of {len(found)} pictures have the mark of {mark.fingerprint}",
        marked=int(count),
        of=len(found),
        fingerprint=mark.fingerprint,
    )
