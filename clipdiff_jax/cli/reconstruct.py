"""`clipdiff reconstruct`: every picture from some of its embedding's principal components."""

import argparse
from collections.abc import Sequence

import jax

from clipdiff_jax.cli.arguments import (
    add_images,
    add_model,
    add_results,
    check_at_least,
    check_results,
    results_of,
)
from clipdiff_jax.cli.make import Maker
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.paths import drawn, make_ways, ways_of_pictures
from clipdiff_jax.cli.sources import DIGEST, Sources, read_sources
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

COMMAND = "reconstruct"
_OWN = ("file", "dims")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, and how many dimensions to keep."""
    add_images(parser)
    parser.add_argument(
        "--dims", nargs="+", type=int, metavar="N",
        help="how many principal components of the embedding to keep (the paper's numbers)",
    )  # fmt: skip
    add_options(parser, INVERTED, DECODED)
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Draws every picture from every number of dimensions."""
    check_results(args)
    for dims in args.dims or ():
        check_at_least("--dims", dims, 0)
    drawing = from_args(INVERTED, args)
    model, results = load_model(args.model, args.dtype), results_of(args, COMMAND)
    maker = _maker(model)
    assert maker.size is not None
    dims = model.reconstruction_dims(args.dims)
    sources = read_sources(args.images, maker.size, args.on_error)
    common = described(args, COMMAND, maker, decoded(drawing, model))
    ways = ways_of_pictures(sources, common, "dims", dims, args.format)
    make_ways(maker, ways, [f"{one} dims" for one in dims], results, args.batch_size)


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_model(record["model"], record["dtype"]))


def _maker(model: UnClip) -> Maker:
    return make_maker(model, _compute, _OWN, "reconstructions")


def _compute(model: UnClip, records: Sequence[Record], sources: Sources) -> jax.Array:
    image = sources[records[0][DIGEST]].pixels
    return model.pca_reconstructions(image, [r["dims"] for r in records], **drawn(records))
