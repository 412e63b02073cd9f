"""What the commands of an unCLIP share: the model, its options, and what records say of it."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import jax

from clipdiff_jax.cli.arguments import name_of
from clipdiff_jax.cli.loaded import held
from clipdiff_jax.cli.make import Maker
from clipdiff_jax.cli.sources import Sources
from clipdiff_jax.core.types import DTypeName, as_dtype
from clipdiff_jax.pictures.records import Record, request_of
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.load import load_unclip
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.weights.params import fingerprint

# Where x_T is found by inversion, or stays fixed: a scale far from 1 cannot be inverted well.
INVERTED = Drawing(steps=50, guidance=1.0)
DECODED = ("guidance", "steps", "upsample_steps")  # what those commands turn
Compute = Callable[[UnClip, Sequence[Record], Sources], jax.Array]


def load_model(source: str, dtype: DTypeName) -> UnClip:
    """The model that a record, or the command line, names."""
    kind = as_dtype(dtype)
    return held(source, UnClip, lambda: load_unclip(source, dtype=kind, param_dtype=kind))


def described(args: argparse.Namespace, command: str, maker: Maker, values: Record) -> Record:
    """What records say of the command, the model and how it is sampled."""
    return {
        "command": command,
        "model": name_of(args.model),
        **maker.fingerprints,
        **values,
        "seed": args.seed,
        "dtype": args.dtype,
    }


def decoded(drawing: Drawing, model: UnClip) -> Record:
    """The `DECODED` fields of a request, with the model's own guidance where it is None."""
    values = {name: value for name, value in drawing.to_dict().items() if name in DECODED}
    return values | {"guidance": guidance_of(model, "decoder", drawing.guidance)}


def guidance_of(model: UnClip, part: str, scale: Any) -> float:
    """A scale, or the one stored with the part of the model."""
    return float(model.guidance_of(part)) if scale is None else float(scale)


def make_maker(
    model: UnClip, compute: Compute, own: tuple[str, ...], made: str | None = None
) -> Maker:
    """What makes records with a model.

    made: what it makes of pictures, for messages; None where it sees none.
    """
    size = None if made is None else source_size(model, made)
    params = {name: model.part(name).params for name in model.loaded}
    fingerprints = {"model_fingerprint": fingerprint(params)}
    return Maker(lambda records, sources: compute(model, records, sources), fingerprints, own, size)


def decoding(record: Record) -> dict[str, Any]:
    """The keywords with which a record was decoded."""
    drawing = request_of(Drawing, {n: record[n] for n in (*DECODED, "file")})
    return {name: getattr(drawing, name) for name in DECODED}


def source_size(model: UnClip, made: str) -> int:
    """Side of the pictures that the model sees: enough for its image tower and its decoder.

    made: what is to be made of them; `ValueError` says it where the model sees none.
    """
    if model.image is None:
        raise ValueError(
            f"this model has no image tower, so it makes no {made}: give one that has, such as "
            "kakaobrain/karlo-v1-alpha-image-variations"
        )
    decoder = 0 if model.decoder is None else model.decoder.config.image_size
    return max(model.image.config.tower.image_size, decoder)
