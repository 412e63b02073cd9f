"""`clipdiff interpolate`: pictures on the way from each picture of a list to the next."""

import argparse
from collections.abc import Sequence
from itertools import pairwise

import jax
import numpy as np

from clipdiff_jax.cli.arguments import (
    add_images,
    add_model,
    add_results,
    check_at_least,
    check_results,
    free_name,
    results_of,
)
from clipdiff_jax.cli.make import Maker
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.paths import (
    SECOND,
    Way,
    add_animation,
    check_animation,
    drawn,
    make_ways,
    save_animation,
)
from clipdiff_jax.cli.sources import (
    DIGEST,
    Sources,
    described_source,
    image_files,
    read_sources,
)
from clipdiff_jax.cli.unclip_model import (
    DECODED,
    INVERTED,
    decoded,
    described,
    load_model,
    make_maker,
)
from clipdiff_jax.pictures.records import Record
from clipdiff_jax.unclip.model import UnClip

COMMAND = "interpolate"
_COUNT = 8
_OWN = ("file", "theta")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, and how to go from one to the next."""
    add_images(parser)
    parser.add_argument(
        "--count", type=int, default=_COUNT, metavar="N",
        help=f"pictures from each to the next, both ends included ({_COUNT})",
    )  # fmt: skip
    parser.add_argument(
        "--latents", choices=("slerp", "fixed"), default="slerp",
        help="x_T goes from one picture's own to the other's (default), or is the same for all",
    )  # fmt: skip
    add_options(parser, INVERTED, DECODED)
    add_animation(parser)
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Along the list of pictures, from each to the next."""
    check_results(args)
    check_at_least("--count", args.count, 2)
    check_animation(args, args.count)
    drawing = from_args(INVERTED, args)
    if len(image_files(args.images)) < 2:
        raise ValueError("interpolate needs at least 2 pictures, got 1")
    model, results = load_model(args.model, args.dtype), results_of(args, COMMAND)
    maker = _maker(model)
    assert maker.size is not None
    sources = read_sources(args.images, maker.size, args.on_error)
    if len(sources) < 2:
        raise ValueError(f"interpolate needs at least 2 pictures, got {len(sources)}")
    # One index for all: the end of a way and the start of the next are drawn with the same noise.
    chosen = {**decoded(drawing, model), "latents": args.latents, "index": 0}
    common = described(args, COMMAND, maker, chosen)
    thetas = [float(theta) for theta in np.linspace(0, 1, args.count)]
    taken: set[str] = set()
    ways = []
    for first, second in pairwise(sources):
        both = {**common, **described_source(first), **described_source(second, SECOND)}
        stem = f"{first.path.stem}-{second.path.stem}"
        numbers = [f"{stem}-{number:02d}" for number in range(args.count)]
        names = [free_name(one, taken, args.format) for one in numbers]
        records = [
            {**both, "theta": theta, "file": name}
            for theta, name in zip(thetas, names, strict=True)
        ]
        ways.append(Way(f"{first.path.stem} - {second.path.stem}", records, (first, second)))
    make_ways(maker, ways, [f"theta {theta:.2g}" for theta in thetas], results, args.batch_size)
    if args.animate is not None:
        frames = [record for way in ways for record in way.records[way is not ways[0] :]]
        save_animation(args, results, frames, f"animation.{args.animate}")


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_model(record["model"], record["dtype"]))


def _maker(model: UnClip) -> Maker:
    return make_maker(model, _compute, _OWN, "interpolations")


def _compute(model: UnClip, records: Sequence[Record], sources: Sources) -> jax.Array:
    one = records[0]
    first, second = (sources[one[name]].pixels for name in (DIGEST, f"{SECOND}{DIGEST}"))
    thetas = [record["theta"] for record in records]
    return model.interpolate(first, second, thetas, latents=one["latents"], **drawn(records))
