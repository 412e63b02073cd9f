"""`clipdiff vary`: variations of pictures, with all but their embedding drawn anew or in part."""

import argparse
from collections.abc import Sequence

import jax
import numpy as np

from clipdiff_jax.cli.arguments import (
    add_images,
    add_model,
    add_results,
    check_at_least,
    check_between,
    check_results,
    free_name,
    results_of,
)
from clipdiff_jax.cli.beside import save_beside_sources
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.sources import DIGEST, Sources, by_digest, described_source, read_sources
from clipdiff_jax.cli.unclip_model import (
    DECODED,
    INVERTED,
    decoded,
    decoding,
    described,
    load_model,
    make_maker,
)
from clipdiff_jax.pictures.records import Record, record_keys
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.model import UnClip

COMMAND = "vary"
DEFAULT = Drawing()
_OWN = ("file", "source", DIGEST, "index")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, and how they are drawn."""
    add_images(parser)
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="variations of each picture (1)"
    )
    shown = {"steps": f"{DEFAULT.steps}; {INVERTED.steps} with --inverted",
             "guidance": f"the model's own; {INVERTED.guidance:g} with --inverted"}  # fmt: skip
    add_options(parser, DEFAULT, DECODED, shown=shown)
    parser.add_argument(
        "--inverted", action="store_true",
        help="start from the picture's own x_T, found by DDIM inversion",
    )  # fmt: skip
    parser.add_argument(
        "--eta", type=float, metavar="X",
        help="with --inverted: 0 gives the picture back, larger values change more (1)",
    )  # fmt: skip
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Makes `--count` variations of every picture."""
    check_results(args)
    check_at_least("--count", args.count, 1)
    if args.eta is not None and not args.inverted:
        raise ValueError(f"--eta {args.eta:g} is of pictures' own x_T: give --inverted")
    eta = 1.0 if args.eta is None else args.eta
    check_between("--eta", eta, 0, 1)
    drawing = from_args(INVERTED if args.inverted else DEFAULT, args, leave_out=("eta",))
    start = {"inverted": True, "eta": eta} if args.inverted else {}
    model, results = load_model(args.model, args.dtype), results_of(args, COMMAND)
    maker = _maker(model)
    assert maker.size is not None
    sources = read_sources(args.images, maker.size, args.on_error)
    common = described(args, COMMAND, maker, {**decoded(drawing, model), **start})
    records: list[Record] = []
    taken: set[str] = set()
    for number in range(1, args.count + 1):
        for source in sources:
            name = free_name(f"{source.path.stem}-{number}", taken, args.format)
            made = {**described_source(source), "index": len(records), "file": name}
            records.append({**common, **made})
    make([Job(maker, records, by_digest(sources))], results, args.batch_size)
    labels = [f"variation {number}" for number in range(1, args.count + 1)]
    save_beside_sources(results, records, sources, labels)


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    return _maker(load_model(record["model"], record["dtype"]))


def _maker(model: UnClip) -> Maker:
    return make_maker(model, _compute, _OWN, "variations")


def _compute(model: UnClip, records: Sequence[Record], sources: Sources) -> jax.Array:
    one = records[0]
    start = {"inverted": True, "eta": one["eta"]} if one.get("inverted") else {}
    return model.variations(
        np.stack([sources[record[DIGEST]].pixels for record in records]),
        key=record_keys(records),
        **decoding(one),
        **start,
    )
