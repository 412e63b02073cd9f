"""`clipdiff guide`: pictures of a model without texts, guided to texts by a CLIP's gradient."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from clipdiff_jax.cli.arguments import (
    DEMO,
    add_model,
    add_results,
    check_at_least,
    check_results,
    name_of,
    results_of,
)
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.sources import DIGEST, Sources, by_digest, described_source, read_source
from clipdiff_jax.cli.unconditional import load_base
from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.guided.api import check_guidable, clip_guided
from clipdiff_jax.guided.guiding import Guiding
from clipdiff_jax.guided.prompts import weighted
from clipdiff_jax.pictures.pages import cell, save_square
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import fingerprint

COMMAND = "guide"
DEFAULT = Guiding()
_OWN = ("file", "index")
_FIELDS = tuple(name for name in DEFAULT.to_dict() if name != "classes")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show, and the fields of `Guiding`."""
    parser.add_argument(
        "prompts", nargs="+", metavar="PROMPT",
        help="what to show; with a weight behind a colon, such as 'blurry:-0.5'",
    )  # fmt: skip
    parser.add_argument("--count", type=int, default=4, metavar="N", help="pictures (4)")
    parser.add_argument(
        "--clip", action="append", metavar="CLIP",
        help="the CLIP that guides: 'demo' (default), a folder, a file or a repository of the Hub; "
        "repeat it for several",
    )  # fmt: skip
    parser.add_argument("--init", type=Path, metavar="PICTURE", help="a picture to start from")
    parser.add_argument(
        "--class", dest="classes", metavar="N",
        help="class of the pictures, by a model that has classes; 'random' draws one at each step",
    )  # fmt: skip
    add_options(parser, DEFAULT, _FIELDS)
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Makes `--count` pictures."""
    check_results(args)
    check_at_least("--count", args.count, 1)
    guiding = from_args(DEFAULT, args, leave_out=("classes",))
    guiding = guiding.replace(classes=_classes(args.classes))
    weighted(args.prompts)
    clips = args.clip or [DEMO]
    base = load_base(args.model, args.dtype)
    check_guidable(base, guiding, args.init is not None)
    maker = _maker(base, [load_clip(one) for one in clips])
    start = None if args.init is None else read_source(args.init, base.config.image_size)
    common = {
        "command": COMMAND,
        "model": name_of(args.model),
        "clips": [name_of(one) for one in clips],
        **maker.fingerprints,
        "prompts": args.prompts,
        **guiding.to_dict(),
        **({} if start is None else described_source(start)),
        "seed": args.seed,
        "dtype": args.dtype,
    }
    records = [
        {**common, "index": i, "file": f"{args.seed}-{i:05d}.{args.format}"}
        for i in range(args.count)
    ]
    sources = {} if start is None else by_digest([start])
    results = results_of(args, COMMAND)
    make([Job(maker, records, sources)], results, args.batch_size)
    cells = [cell(results.folder / record["file"]) for record in records]
    save_square(results, cells, [Path(record["file"]).stem for record in records])


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    base = load_base(record["model"], record["dtype"])
    return _maker(base, [load_clip(one) for one in record["clips"]])


def _maker(base: Diffusion, clips: Sequence[Clip]) -> Maker:
    def compute(records: Sequence[Record], sources: Sources) -> jax.Array:
        one, count = records[0], len(records)
        start = sources[one[DIGEST]].pixels if DIGEST in one else None
        init = None if start is None else np.stack([start] * count)
        return clip_guided(
            base,
            clips,
            one["prompts"],
            key=record_keys(records),
            init=init,
            guiding=request_of(Guiding, one),
        )

    fingerprints = {
        "model_fingerprint": base.fingerprint,
        "clip_fingerprints": [fingerprint(one.params) for one in clips],
    }
    return Maker(compute, fingerprints, _OWN, base.config.image_size)


def _classes(text: str | None) -> int | str | None:
    """What --class says. Raises `ValueError` for what is neither a number nor "random"."""
    if text is None or text == "random":
        return text
    if not text.isdecimal():
        raise ValueError(f"--class {text!r}, expected a whole number or 'random'")
    return int(text)
