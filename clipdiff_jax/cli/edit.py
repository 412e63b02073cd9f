"""`clipdiff edit`: pictures edited with what the edit stage learned, or by a latent model."""

import argparse
from collections.abc import Sequence
from typing import get_args

import jax
import numpy as np

from clipdiff_jax.cli import latent_pictures
from clipdiff_jax.cli.arguments import (
    DEMO,
    add_images,
    add_model,
    add_results,
    check_results,
    free_name,
    name_of,
    results_of,
)
from clipdiff_jax.cli.beside import save_beside_sources
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.sources import (
    DIGEST,
    Sources,
    by_digest,
    described_source,
    read_sources,
)
from clipdiff_jax.cli.unconditional import load_base
from clipdiff_jax.edit.api import edit
from clipdiff_jax.edit.editing import Editing, Method
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.run import check_editable
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import fingerprint

COMMAND = "edit"
DEFAULT = Editing()
_ONLY_LEARNED = ("ratios", "t0", "fixed_point", "random_inversion", "purify")
_FIELDS = ("steps", "sampler", *_ONLY_LEARNED)
_OWN = ("file", "source", DIGEST, "index", "strength")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, the edits, and the fields of `Editing`."""
    add_images(parser)
    parser.add_argument(
        "--edit", action="append", metavar="FOLDER",
        help="what `clipdiff train` wrote; repeat it for several edits at once",
    )  # fmt: skip
    add_options(parser, DEFAULT, (*_FIELDS, "strength"), several=("strength",))
    parser.add_argument(
        "--method", choices=(*get_args(Method), *latent_pictures.METHODS),
        default=argparse.SUPPRESS,
        help="how to invert (default: fixed_point where iterations are given, else ddim); or, by a "
        "latent model and a --prompt: img2img, inpaint, instruct",
    )  # fmt: skip
    latent_pictures.add_edit_arguments(parser)
    add_model(parser)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Edits every picture with every strength that is given."""
    check_results(args)
    if getattr(args, "method", None) in latent_pictures.METHODS:
        if args.edit or (options := given(args, _ONLY_LEARNED)):
            name = "--edit" if args.edit else option_name(options[0])
            raise ValueError(f"{name} is not of --method {args.method}")
        return latent_pictures.edit(args, results_of(args, COMMAND))
    if options := latent_pictures.of_edit(args):
        methods = ", ".join(latent_pictures.METHODS)
        raise ValueError(f"{option_name(options[0])} is of latent models: give --method {methods}")
    if not args.edit:
        raise ValueError("give --edit, what `clipdiff train` wrote")
    editing = from_args(DEFAULT, args, leave_out=("strength",))
    strengths = [editing.replace(strength=one) for one in getattr(args, "strength", [1.0])]
    if editing.ratios is not None and len(editing.ratios) != len(args.edit):
        raise ValueError(
            f"{len(args.edit)} --edit need as many --ratios, got {len(editing.ratios)}"
        )
    edits = [load_edit(path) for path in args.edit]
    # The model that is taken where none is named: the edit's own, where it says which.
    model = (args.model == DEMO and edits[0].base_source) or args.model
    base, results = load_base(model, args.dtype), results_of(args, COMMAND)
    check_editable(base)
    maker = _maker(base, edits)
    sources = read_sources(args.images, base.config.image_size, args.on_error)
    common = {
        "command": COMMAND,
        "model": name_of(model),
        "edits": [name_of(path) for path in args.edit],
        **maker.fingerprints,
        "seed": args.seed,
        "dtype": args.dtype,
    }
    meant = {
        "ratios": list(editing.ratios or [1.0] * len(edits)),
        "t0": max(one.objective.known_t0 for one in edits) if editing.t0 is None else editing.t0,
        "method": editing.inversion,
    }
    records: list[Record] = []
    taken: set[str] = set()
    for one in strengths:
        suffix = "" if len(strengths) == 1 else f"-{one.strength:g}"
        for index, source in enumerate(sources):
            name = free_name(source.path.stem + suffix, taken)
            made = {**described_source(source), "index": index, "file": name}
            records.append({**common, **one.to_dict(), **meant, **made})
    make([Job(maker, records, by_digest(sources))], results, args.batch_size)
    labels = [_label(edits, one.strength, len(strengths)) for one in strengths]
    save_beside_sources(results.folder, records, sources, labels)


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    if record.get("system") == latent_pictures.SYSTEM:
        return latent_pictures.maker_of(record)
    base = load_base(record["model"], record["dtype"])
    return _maker(base, [load_edit(path) for path in record["edits"]])


def _maker(base: Diffusion, edits: Sequence[Edit]) -> Maker:
    def compute(records: Sequence[Record], sources: Sources) -> jax.Array:
        editing = request_of(Editing, records[0])
        strength = np.array([record["strength"] for record in records], np.float32)
        return edit(
            np.stack([sources[record[DIGEST]].image() for record in records]),
            base,
            edits,
            strength,
            key=record_keys(records),
            editing=editing,
        )

    fingerprints = {
        "model_fingerprint": base.fingerprint,
        "edit_fingerprints": [fingerprint(one.params) for one in edits],
    }
    return Maker(compute, fingerprints, _OWN, base.config.image_size)


def _label(edits: Sequence[Edit], strength: object, count: int) -> str:
    text = " + ".join(one.objective.target_text for one in edits)
    return text if count == 1 else f"{text}, {strength:g}"
