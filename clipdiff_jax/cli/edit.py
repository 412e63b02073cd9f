"""`sample.py edit`: pictures edited with what the edit stage learned."""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import get_args

import jax
import numpy as np

from clipdiff_jax.cli.make import Kind, make
from clipdiff_jax.cli.results import save_beside_originals
from clipdiff_jax.cli.sources import described_source, free_name, read_sources
from clipdiff_jax.cli.unconditional import base_fingerprint, base_model, described_base
from clipdiff_jax.edit.api import Edit, edit, load_edit
from clipdiff_jax.edit.run import Method, inversion_method
from clipdiff_jax.pictures.records import Record, read_source, record_keys
from clipdiff_jax.weights.params import fingerprint


def add_edit_options(parser: argparse.ArgumentParser) -> None:
    """The options of `edit`, beside the pictures."""
    parser.add_argument(
        "--edit", action="append", required=True, type=Path, metavar="FOLDER",
        help="what train.py wrote; several times for several edits at once",
    )  # fmt: skip
    parser.add_argument("--ratios", nargs="+", type=float, help="how much of each edit")
    parser.add_argument(
        "--strength", nargs="+", type=float, default=[1.0],
        help="degree of change: 0 none, 1 as learned; several give several pictures",
    )  # fmt: skip
    parser.add_argument("--t0", type=int, help="time index to invert to (default: as trained)")
    parser.add_argument(
        "--method", choices=get_args(Method),
        help="how to invert (default: fixed_point where --fixed-point is given, else ddim)",
    )  # fmt: skip
    parser.add_argument(
        "--fixed-point", type=int, default=0, metavar="N",
        help="iterations refining each inversion step",
    )  # fmt: skip
    parser.add_argument(
        "--random-inversion", action="store_true", help="noise at random instead of inverting"
    )
    parser.add_argument(
        "--purify", type=int, default=0, metavar="N",
        help="first N rounds of noising and denoising with the base model, for strokes and "
        "foreign domains (8 or more)",
    )  # fmt: skip


def run_edit(args: argparse.Namespace) -> None:
    """`sample.py edit`."""
    edits = [_edit(path) for path in args.edit]
    ratios = args.ratios or [1.0] * len(edits)
    if len(ratios) != len(edits):
        raise ValueError(f"{len(edits)} --edit need as many --ratios, got {len(ratios)}")
    base = base_model(args.model, args.dtype)
    common = {
        "command": "edit",
        **described_base(args, base),
        "edits": [str(path.resolve()) for path in args.edit],
        "edit_fingerprints": [fingerprint(one.params) for one in edits],
        "ratios": ratios,
        "t0": args.t0 or max(one.objective.t0 for one in edits),
        "method": inversion_method(args.method, args.fixed_point),
        "fixed_point": args.fixed_point,
        "random_inversion": args.random_inversion,
        "purify": args.purify,
    }
    size = base.config.image_size
    sources = read_sources(args.images, size, args.on_error)
    records: list[Record] = []
    taken: set[str] = set()
    for strength in args.strength:
        suffix = "" if len(args.strength) == 1 else f"-{strength:g}"
        for index, source in enumerate(sources):
            records.append(
                {
                    **common,
                    "strength": strength,
                    **described_source(source),
                    "index": index,
                    "file": free_name(source.path.stem + suffix, taken),
                }
            )
    make(records, lambda record: KIND, args.out, args.batch_size)
    labels = [_label(edits, strength, len(args.strength)) for strength in args.strength]
    save_beside_originals(args.out, records, len(sources), size, labels)


def edit_fingerprint(path: str) -> str:
    """The hash of an edit's parameters."""
    return fingerprint(_edit(Path(path)).params)


def _compute(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    base = base_model(one["model"], one["dtype"])
    return edit(
        np.stack([read_source(record, base.config.image_size) for record in records]),
        base,
        [_edit(Path(path)) for path in one["edits"]],
        np.array([record["strength"] for record in records], np.float32),
        ratios=one["ratios"],
        t0=one["t0"],
        steps=one["steps"],
        method=one["method"],
        fixed_point=one["fixed_point"],
        random_inversion=one["random_inversion"],
        purify=one["purify"],
        key=record_keys(records),
    )


def _label(edits: list[Edit], strength: float, count: int) -> str:
    text = " + ".join(one.objective.target_text for one in edits)
    return text if count == 1 else f"{text}, {strength:g}"


@cache
def _edit(path: Path) -> Edit:
    return load_edit(path)


KIND = Kind(
    _compute, base_fingerprint, own=("file", "source", "source_sha256", "index", "strength")
)
