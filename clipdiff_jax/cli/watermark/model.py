"""The model of a command that looks for watermarks, and the pictures that it looks at."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.cli.arguments import DEMO, add_dtype, add_images, check_at_least
from clipdiff_jax.cli.sources import read_each
from clipdiff_jax.core.types import as_dtype
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.latent.load import is_latent, load_latent
from clipdiff_jax.pictures.grid import is_grid
from clipdiff_jax.pictures.watermark.inverters import Model
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.unclip.load import is_unclip, load_unclip

SYSTEMS = ("pixel", "unclip", "latent")


def add_model(parser: argparse.ArgumentParser) -> None:
    """The pictures, the model that drew them, and how they are inverted."""
    add_images(parser)
    parser.add_argument(
        "--model", default=DEMO,
        help="what drew the pictures: 'demo' (default), a folder, or a repository of the Hub",
    )  # fmt: skip
    parser.add_argument(
        "--system", choices=SYSTEMS,
        help="which kind of model 'demo' is (pixel); of others it is seen",
    )  # fmt: skip
    parser.add_argument(
        "--class", dest="classes", type=int, metavar="N", help="of a model that has classes"
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="of the inversion (the key's, or 25)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=16, metavar="N", help="pictures inverted at once (16)"
    )
    add_dtype(parser)


def load_model(args: argparse.Namespace) -> Model:
    """The model that is named. Raises `ValueError` for numbers that cannot be."""
    check_at_least("--batch-size", args.batch_size, 1)
    if args.steps is not None:
        check_at_least("--steps", args.steps, 1)
    source, dtype = args.model, as_dtype(args.dtype)
    seen = "unclip" if is_unclip(source) else "latent" if is_latent(source) else "pixel"
    system = args.system or ("pixel" if source == DEMO else seen)
    if system == "latent":
        return load_latent(source, dtype=dtype)
    if system == "unclip":
        return load_unclip(source, dtype=dtype, param_dtype=dtype)
    return load_diffusion(source, dtype=dtype)


def read_pictures(args: argparse.Namespace) -> tuple[list[Path], list[UInt8[np.ndarray, "_ _ 3"]]]:
    """The files, and their pictures as they are; grids of ours are none. Raises `ValueError` where
    none can be read."""
    read = read_each(args.images, lambda path: (path, read_image(path)), args.on_error)
    both = [(path, picture) for path, picture in read if not is_grid(path)]
    if not both:
        raise ValueError("there are no pictures to look at, but for grids")
    return [path for path, _ in both], [picture for _, picture in both]


def inversion(args: argparse.Namespace) -> dict[str, Any]:
    """The keywords of how pictures are inverted."""
    return {"steps": args.steps, "classes": args.classes, "batch": args.batch_size}
