"""`sample.py vary`: variations of pictures, with all but their embedding drawn anew or in part."""

import argparse
from collections.abc import Sequence

import jax
import numpy as np

from clipdiff_jax.cli.make import Kind, make
from clipdiff_jax.cli.results import save_beside_originals
from clipdiff_jax.cli.sources import described_source, free_name, read_sources
from clipdiff_jax.cli.unclip_model import (
    INVERTED_GUIDANCE,
    INVERTED_STEPS,
    STEPS,
    add_options,
    checked_eta,
    described,
    model_fingerprint,
    model_of,
    source_size,
)
from clipdiff_jax.pictures.records import Record, read_source, record_keys

_OPTIONS: dict[str, float | None] = {"guidance": None, "upsample_steps": 7}
_INVERTED = _OPTIONS | {"guidance": INVERTED_GUIDANCE}


def add_vary_options(parser: argparse.ArgumentParser) -> None:
    """The options of `vary`, beside the pictures."""
    parser.add_argument("--count", type=int, default=1, help="variations of each picture")
    add_options(parser, _OPTIONS)
    parser.add_argument(
        "--inverted", action="store_true",
        help="start from the picture's own x_T, found by DDIM inversion (then --guidance is "
        f"{INVERTED_GUIDANCE:g} and --steps {INVERTED_STEPS} where they are not given)",
    )  # fmt: skip
    parser.add_argument(
        "--eta", type=float,
        help="of --inverted: 0 gives the picture back, and the larger, the more is drawn anew (1)",
    )  # fmt: skip


def run_vary(args: argparse.Namespace) -> None:
    """`sample.py vary`."""
    if args.count < 1:
        raise ValueError(f"--count must be at least 1, got {args.count}")
    if args.eta is not None and not args.inverted:
        raise ValueError(f"--eta {args.eta:g} is of pictures' own x_T: give --inverted")
    if args.inverted:
        eta = checked_eta(1.0 if args.eta is None else args.eta)
        start = {"inverted": True, "eta": eta}
        common = {"command": "vary", **described(args, _INVERTED, INVERTED_STEPS), **start}
    else:
        common = {"command": "vary", **described(args, _OPTIONS, STEPS)}
    size = source_size(model_of(common))
    sources = read_sources(args.images, size, args.on_error)
    records: list[Record] = []
    taken: set[str] = set()
    for number in range(1, args.count + 1):
        for source in sources:
            records.append(
                {
                    **common,
                    **described_source(source),
                    "index": len(records),
                    "file": free_name(f"{source.path.stem}-{number}", taken),
                }
            )
    make(records, lambda record: KIND, args.out, args.batch_size)
    labels = [f"variation {number}" for number in range(1, args.count + 1)]
    save_beside_originals(args.out, records, len(sources), size, labels)


def _compute(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    model = model_of(one)
    size = source_size(model)
    start = {"inverted": True, "eta": one["eta"]} if one.get("inverted") else {}
    return model.variations(
        np.stack([read_source(record, size) for record in records]),
        key=record_keys(records),
        guidance=one["guidance"],
        steps=one["steps"],
        upsample_steps=one["upsample_steps"],
        **start,
    )


KIND = Kind(_compute, model_fingerprint, own=("file", "source", "source_sha256", "index"))
