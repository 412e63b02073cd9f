"""`clipdiff evaluate pairs`: pictures of a folder against their references in another."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from clipdiff_jax.cli.evaluate.metrics import add_lpips_options, pixel_metrics
from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_reading_options,
    add_result_options,
    check_options,
    equal_squares,
    mean_of,
    reading,
    table,
    write_results,
)
from clipdiff_jax.core.progress import counter
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.metrics.folders import Pair, list_pairs, read_pairs
from clipdiff_jax.metrics.registry import of_faces
from clipdiff_jax.perceptual.identity import load_face
from clipdiff_jax.pictures.grid import Grid, show
from clipdiff_jax.pictures.pages import spread


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument("folder", type=Path, help="the pictures to be measured")
    parser.add_argument("--reference", type=Path, required=True, help="what they should be")
    parser.add_argument(
        "--size", type=int,
        help="resize the middle square of all pictures to this many pixels first",
    )  # fmt: skip
    add_lpips_options(parser)
    parser.add_argument(
        "--face", type=Path, metavar="FILE",
        help="ArcFace weights (model_ir_se50.pth): identity too, of aligned faces",
    )  # fmt: skip
    add_reading_options(parser)
    add_result_options(parser, batch_size=16)


def run(args: argparse.Namespace) -> None:
    """`clipdiff evaluate pairs`."""
    check_options(args)
    pairs = list_pairs(args.folder, args.reference, reading(args))
    metrics = pixel_metrics(args)
    if args.face is not None:
        metrics |= of_faces(load_face(args.face))
    found: dict[str, list[Any]] = {name: [] for name in metrics}
    with counter("measuring", total=len(pairs), unit="pair") as told:
        for count, images, truths in read_pairs(pairs, args.batch_size, args.size):
            # As bytes, whose range is in no doubt, however bright they are.
            images, truths = to_uint8(images), to_uint8(truths)
            for name, metric in metrics.items():
                found[name] += np.asarray(metric.scores(images, truths))[:count].tolist()
            told.update(count)
    means = {name: mean_of(scores) for name, scores in found.items()}
    columns = {"name": [picture.name for picture, _ in pairs]} | found
    results = {
        "pictures": len(pairs),
        "identical": sum(score == 0 for score in found["mae"]),
        "size": args.size,
        "lpips": args.lpips,
        "mean": {name: dataclasses.asdict(mean) for name, mean in means.items()},
        "each": [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ],
    }
    header = ["pictures", *(metric.title for metric in metrics.values())]
    row = [str(len(pairs)), *(format(means[name], metrics[name].digits) for name in metrics)]
    write_results(args.out, results, table(header, [row]), _grid(pairs, found["ssim"]))


def _grid(pairs: list[Pair], similarity: list[float]) -> Grid:
    """References above pictures, from the most to the least similar by SSIM."""
    order = spread(sorted(range(len(pairs)), key=lambda i: -similarity[i]), SHOWN)
    rows = [[pairs[i][side].read() for i in order] for side in (1, 0)]
    titles = [f"SSIM {similarity[i]:.3f}" for i in order]
    return show(equal_squares(rows), rows=["reference", "picture"], titles=titles)
