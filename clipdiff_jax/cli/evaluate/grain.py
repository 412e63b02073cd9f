"""`clipdiff evaluate grain`: how noisy the pictures of a folder are where they should be flat."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_reading_options,
    equal_squares,
    reading,
    table,
    write_results,
)
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.folders import Picture, list_pictures
from clipdiff_jax.metrics.grain import median_deviation
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pictures.pages import spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured."""
    parser.add_argument("folder", type=Path, help="the pictures to be measured")
    add_reading_options(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the results"
    )


def run(args: argparse.Namespace) -> None:
    """The median over all pixels of the 3 x 3 local standard deviation, of a range of 2."""
    pictures = list_pictures(args.folder, reading(args))
    grain = median_deviation(_floats(pictures))
    results = {"folder": str(args.folder), "pictures": len(pictures), "grain": grain}
    shown = equal_squares([[one.read() for one in spread(pictures, SHOWN)]])
    lines = table(["pictures", "grain ↓"], [[str(len(pictures)), f"{grain:.4f}"]])
    write_results(args.out, results, lines, show(shown))


def _floats(pictures: Sequence[Picture]) -> Iterator[Float32[np.ndarray, "h w 3"]]:
    for picture in bar(pictures, "measuring", unit="img"):
        yield to_float(picture.read())
