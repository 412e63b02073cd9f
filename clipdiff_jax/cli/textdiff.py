"""`clipdiff textdiff`: every picture turned from what one text says to what another says."""

import argparse
from collections.abc import Sequence

import jax

from clipdiff_jax.cli.arguments import (
    add_images,
    add_model,
    add_results,
    check_between,
    check_results,
    free_name,
    results_of,
)
from clipdiff_jax.cli.make import Maker
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.paths import (
    add_animation,
    check_animation,
    drawn,
    make_ways,
    save_animation,
    ways_of_pictures,
)
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
from clipdiff_jax.unclip.manipulations import THETAS
from clipdiff_jax.unclip.model import UnClip

COMMAND = "textdiff"
_OWN = ("file", "theta")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, the two texts, and how far to turn."""
    add_images(parser)
    parser.add_argument(
        "--from", dest="source_text", required=True, metavar="TEXT",
        help="what the pictures show: their caption, 'a photo' or ''",
    )  # fmt: skip
    parser.add_argument(
        "--to", dest="target_text", required=True, metavar="TEXT", help="what they should show"
    )
    parser.add_argument(
        "--thetas", nargs="+", type=float, default=list(THETAS), metavar="THETA",
        help=f"how far to turn, 0 to 1 ({' '.join(f'{theta:g}' for theta in THETAS)})",
    )  # fmt: skip
    add_options(parser, INVERTED, DECODED)
    add_animation(parser)
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Turns every picture by every theta."""
    check_results(args)
    if args.source_text == args.target_text:
        raise ValueError(f"--from and --to are both '{args.source_text}': no direction")
    for theta in args.thetas:
        check_between("--thetas", theta, 0, 1)
    check_animation(args, len(args.thetas))
    drawing = from_args(INVERTED, args)
    model, results = load_model(args.model, args.dtype), results_of(args, COMMAND)
    maker = _maker(model)
    assert maker.size is not None
    sources = read_sources(args.images, maker.size, args.on_error)
    texts = {"source_text": args.source_text, "target_text": args.target_text}
    common = described(args, COMMAND, maker, {**decoded(drawing, model), **texts})
    ways = ways_of_pictures(sources, common, "theta", args.thetas, args.format)
    make_ways(maker, ways, [f"theta {theta:g}" for theta in args.thetas], results, args.batch_size)
    if args.animate is not None:
        taken: set[str] = set()
        for way in ways:
            save_animation(args, results, way.records, free_name(way.label, taken, args.animate))


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_model(record["model"], record["dtype"]))


def _maker(model: UnClip) -> Maker:
    return make_maker(model, _compute, _OWN, "text diffs")


def _compute(model: UnClip, records: Sequence[Record], sources: Sources) -> jax.Array:
    one = records[0]
    thetas = [record["theta"] for record in records]
    texts = one["source_text"], one["target_text"]
    image = sources[one[DIGEST]].pixels
    return model.text_diff(image, *texts, thetas=thetas, **drawn(records))
