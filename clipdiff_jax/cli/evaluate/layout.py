"""`clipdiff evaluate layout`: whether things are where a layout said, in pictures made of one.

clipdiff generate --model sd --layout layout.json --count 8 --out out
clipdiff evaluate layout out --clip openai/clip-vit-base-patch32 --out scores
"""

import argparse
from pathlib import Path

import numpy as np

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_result_options,
    check_options,
    equal_squares,
    mean_of,
    table,
    write_results,
)
from clipdiff_jax.cli.layouts import are_entries, regions_of
from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.shapes import Box
from clipdiff_jax.latent.steering.layout import Region
from clipdiff_jax.metrics.layout import layout_scores
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pictures.records import read_records


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which pictures, and the CLIP that looks at them."""
    parser.add_argument("folder", type=Path, help="what `clipdiff generate --layout` wrote")
    parser.add_argument("--clip", default="demo", help="the CLIP: 'demo' (default), or another")
    add_result_options(parser, batch_size=16)


def run(args: argparse.Namespace) -> None:
    """The scores of every picture, and their means with 95 % intervals."""
    check_options(args)
    records = [one for one in read_records(args.folder) if are_entries(one.get("regions"))]
    if not records:
        raise ValueError(f"no picture in '{args.folder}' was made of a layout")
    clip = load_clip(args.clip)
    rows, images = [], []
    for record in records:
        picture = read_image(args.folder / record["file"])
        regions = regions_of(record["regions"])
        found = layout_scores(
            clip, picture, record["prompt"], [one.prompt for one in regions],
            [box_of(one) for one in regions],
        )  # fmt: skip
        images.append(picture)
        rows.append({
            "file": record["file"],
            "region": found.region.tolist(),
            "right": found.right.tolist(),
            "leakage": found.leakage.tolist(),
            "whole": found.whole,
        })  # fmt: skip
    titles = {
        "region": "region score ↑",
        "right": "layout accuracy ↑",
        "leakage": "leakage ↓",
        "whole": "global score ↑",
    }
    lines, means = [], {}
    for name, title in titles.items():
        values = np.concatenate([np.atleast_1d(row[name]) for row in rows]).astype(float)  # type: ignore[arg-type]
        mean = mean_of(values)
        means[name] = {"value": mean.value, "interval": 1.96 * mean.uncertainty}
        lines.append([title, f"{mean.value:.3f} ± {1.96 * mean.uncertainty:.3f}"])
    scores = {"clip": str(args.clip), "pictures": len(rows), "means": means, "each": rows}
    grid = show(equal_squares([images[:SHOWN]]))
    write_results(args.out, scores, table([f"{len(rows)} pictures", "mean, 95 %"], lines), grid)


def box_of(region: Region) -> Box:
    """A region's box, or that around its mask."""
    if region.box is not None:
        left, top, right, bottom = map(float, region.box)
        return left, top, right, bottom
    mask = np.asarray(region.mask) >= 0.5
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    height, width = mask.shape
    return (
        float(columns[0] / width),
        float(rows[0] / height),
        float((columns[-1] + 1) / width),
        float((rows[-1] + 1) / height),
    )
