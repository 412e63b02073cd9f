"""`clipdiff edit`: pictures edited with what the edit stage learned, or by a latent model."""

import argparse
import functools
from collections.abc import Iterator, Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from clipdiff_jax.cli import latent_pictures, learned
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
from clipdiff_jax.cli.loaded import held
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.photographs import AUTO, add_align, all_pasted, read_photographs
from clipdiff_jax.cli.sources import (
    DIGEST,
    SQUARES,
    Sources,
    by_digest,
    described_source,
    source_of,
)
from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.types import DTypeName, as_dtype
from clipdiff_jax.edit.api import edit
from clipdiff_jax.edit.editing import Editing, Method
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.space import BASES, Base, as_base, load_model
from clipdiff_jax.pictures.records import Record, record_keys, request_of
from clipdiff_jax.weights.params import fingerprint

COMMAND = "edit"
DEFAULT = Editing()
_ONLY_LEARNED = ("ratios", "t0", "fixed_point", "random_inversion", "purify")
_FIELDS = ("steps", "sampler", *_ONLY_LEARNED)
_OWN = ("file", "source", DIGEST, SQUARES, "index", "strength")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The pictures, the edits, and the fields of `Editing`."""
    add_images(parser)
    add_align(parser)
    parser.add_argument(
        "--edit", action="append", metavar="FOLDER",
        help="what `clipdiff train` wrote, or a ready one such as demo/smile; repeat it for "
        "several edits at once",
    )  # fmt: skip
    learned.add_arguments(parser)
    add_options(parser, DEFAULT, (*_FIELDS, "strength"), several=("strength",))
    parser.add_argument(
        "--method", choices=(*get_args(Method), *latent_pictures.METHODS),
        default=argparse.SUPPRESS,
        help="how to invert (default: fixed_point where iterations are given, else ddim); or, by a "
        "latent model and a --prompt: img2img, inpaint, instruct, p2p, ledits",
    )  # fmt: skip
    latent_pictures.add_edit_arguments(parser)
    add_model(parser, default=None)
    add_results(parser)


def run(args: argparse.Namespace) -> None:
    """Edits every picture with every strength that is given."""
    check_results(args)
    if getattr(args, "method", None) in latent_pictures.METHODS:
        if args.edit or (options := given(args, (*_ONLY_LEARNED, "align"))):
            name = "--edit" if args.edit else option_name(options[0])
            raise ValueError(f"{name} is not of --method {args.method}")
        return latent_pictures.edit(args, results_of(args, COMMAND))
    if options := latent_pictures.of_edit(args):
        methods = ", ".join(latent_pictures.METHODS)
        raise ValueError(f"{option_name(options[0])} is of latent models: give --method {methods}")
    to_learn = learned.is_asked_for(args)
    if not args.edit and not to_learn:
        raise ValueError(
            "give --edit, what `clipdiff train` wrote, or --from and --to, which learn one"
        )
    editing = from_args(DEFAULT, args, leave_out=("strength",))
    strengths = [editing.replace(strength=one) for one in getattr(args, "strength", [1.0])]
    paths = list(args.edit or ())
    if editing.ratios is not None and len(editing.ratios) != (len(paths) or 1):
        raise ValueError(f"{len(paths)} --edit need as many --ratios, got {len(editing.ratios)}")
    edits = _load(paths)
    # The model that is taken where none is named: the edit's own, where it says which.
    model = args.model or (edits[0].base_source if edits else "") or DEMO
    base, results = load_base(model, args.dtype), results_of(args, COMMAND)
    align = getattr(args, "align", AUTO)
    sources = read_photographs(args.images, base.config.image_size, args.on_error, align)
    if to_learn:
        paths = [str(learned.learn(args, base, sources, align))]
        edits = _load(paths)
    maker = _maker(base, edits)
    common = {
        "command": COMMAND,
        "model": name_of(model),
        "edits": [name_of(path) for path in paths],
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
            name = free_name(source.path.stem + suffix, taken, args.format)
            made = {**described_source(source), "index": index, "file": name}
            records.append({**common, **one.to_dict(), **meant, **made})
    make([Job(maker, records, by_digest(sources))], results, args.batch_size)
    labels = [_label(edits, one.strength, len(strengths)) for one in strengths]
    save_beside_sources(results, records, sources, labels)


def _load(paths: Sequence[str]) -> list[Edit]:
    return [held(path, Edit, functools.partial(load_edit, path)) for path in paths]


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    if record.get("system") == latent_pictures.SYSTEM:
        return latent_pictures.maker_of(record)
    return _maker(load_base(record["model"], record["dtype"]), _load(record["edits"]))


def load_base(source: str, dtype: DTypeName) -> Base:
    """The model that is edited with; raises as `load_model` and `as_base` do."""
    return held(source, BASES, lambda: as_base(load_model(source, dtype=as_dtype(dtype))))


def _maker(base: Base, edits: Sequence[Edit]) -> Maker:
    def compute(records: Sequence[Record], sources: Sources) -> Iterator[np.ndarray]:
        editing = request_of(Editing, records[0])
        chosen = [source_of(record, sources) for record in records]
        faces = [(i, face) for i, one in enumerate(chosen) for face in one.faces or (one.pixels,)]
        owner = np.array([i for i, _ in faces])
        images = np.stack([face for _, face in faces])
        strength = np.array([record["strength"] for record in records], np.float32)[owner]
        keys = _face_keys(record_keys(records), owner)
        made = [
            np.asarray(edit(images[i], base, edits, strength[i], key=keys[i], editing=editing))[:n]
            for i, n in filled_batches(np.arange(len(faces)), len(records))
        ]
        return all_pasted(chosen, np.concatenate(made))

    fingerprints = {
        "model_fingerprint": base.fingerprint,
        "edit_fingerprints": [fingerprint(one.params) for one in edits],
    }
    return Maker(compute, fingerprints, _OWN, base.config.image_size)


def _face_keys(keys: Key[Array, " n"], owner: Int[np.ndarray, " f"]) -> Key[Array, " f"]:
    """A key for each face: of the first in a picture the picture's, of others their own."""
    number = np.array([np.sum(owner[:i] == one) for i, one in enumerate(owner)], np.int32)
    own = jax.vmap(jax.random.fold_in)(keys[owner], number)
    return jnp.where(jnp.asarray(number == 0), keys[owner], own)


def _label(edits: Sequence[Edit], strength: object, count: int) -> str:
    text = " + ".join(one.objective.target_text for one in edits)
    return text if count == 1 else f"{text}, {strength:g}"
