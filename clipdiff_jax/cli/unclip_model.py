"""What the subcommands of an unCLIP share: the model, its options, and what records say of it."""

import argparse
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from clipdiff_jax.diffusion.grids import Steps
from clipdiff_jax.models.unclip import ImageEncoder
from clipdiff_jax.pictures.records import Record
from clipdiff_jax.unclip.load import load_unclip
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.weights.params import fingerprint

STEPS = 25
INVERTED_STEPS = 50  # where x_T is found by inversion, or stays fixed
INVERTED_GUIDANCE = 1.0  # a scale far from 1 cannot be inverted well
Values = Mapping[str, Any]
_HELP = {
    "guidance": "classifier-free guidance of the decoder; 1 is none",
    "prior_guidance": "the same of the prior",
    "prior_steps": "steps of the prior",
    "candidates": "embeddings drawn a picture, of which the one most like the text is kept",
    "temperature": "of an autoregressive prior; 0 takes the likeliest",
    "upsample_steps": "steps of the super-resolution",
}


def add_options(parser: argparse._ActionsContainer, defaults: Values) -> None:
    """Options that are None where they are not given; `defaults` says what that means.

    A default of None is the model's own, see `UnClip.guidance_of`.
    """
    for name, value in defaults.items():
        number = float if value is None else type(value)
        kind: Any = steps_of if name.endswith("_steps") else number
        shown = "the model's own" if value is None else f"{value:g}"
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, help=f"{_HELP[name]} ({shown})"
        )


def steps_of(text: str) -> Steps:
    """The steps that an option names: "25", for the sections of a schedule "10,10,3,2,2", "glide"

    Raises `argparse.ArgumentTypeError` for another text.
    """
    if text == "glide":
        return "glide"
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}' is neither a number of steps nor numbers for sections of the schedule such "
            "as 10,10,3,2,2, nor 'glide'"
        ) from None
    return counts[0] if len(counts) == 1 else counts


def described(args: argparse.Namespace, defaults: Values, steps: int = STEPS) -> Record:
    """What records say of the model and its options. steps: where none are given."""
    path = Path(args.model)
    source = str(path.resolve()) if path.exists() else args.model
    given = {name: getattr(args, name) for name in defaults}
    return {
        "model": source,
        "model_fingerprint": model_fingerprint(source, args.dtype),
        "steps": steps if args.steps is None else args.steps,
        **resolved(_load(source, args.dtype), defaults, given),
        "seed": args.seed,
        "dtype": args.dtype,
    }


def resolved(
    model: UnClip, defaults: Values, given: Values, prior: str | None = None
) -> dict[str, Any]:
    """The options given and, where they are None, their defaults.

    prior: the stage whose own guidance a `prior_guidance` of None is.
    """
    values = {name: defaults[name] if value is None else value for name, value in given.items()}
    stages = {"guidance": "decoder", "prior_guidance": prior}
    return {
        name: float(model.guidance_of(str(stages[name]))) if value is None else value
        for name, value in values.items()
    }


def model_of(record: Record) -> UnClip:
    """The model that a record names."""
    return _load(record["model"], record["dtype"])


@cache
def model_fingerprint(source: str, dtype: str) -> str:
    """The hash of a model's parameters, computed once: an unCLIP has many."""
    return fingerprint(_load(source, dtype).params)


def source_size(model: UnClip, made: str = "variations") -> int:
    """Side of the pictures that the model sees: enough for its image tower and its decoder.

    made: what is to be made of them; `ValueError` says it where the model sees none.
    """
    image = model.configs.get("image")
    if not isinstance(image, ImageEncoder):
        raise ValueError(
            f"this model has no image tower, so it makes no {made}: give one that has, such as "
            "kakaobrain/karlo-v1-alpha-image-variations"
        )
    decoder = model.configs.get("decoder")
    return max(image.tower.image_size, 0 if decoder is None else decoder.image_size)


def checked_eta(eta: float) -> float:
    """`eta` itself; raises `ValueError` outside of 0 to 1."""
    if not 0 <= eta <= 1:
        raise ValueError(f"--eta {eta:g}, expected 0 (deterministic) to 1")
    return eta


@cache
def _load(source: str, dtype: str) -> UnClip:
    return load_unclip(source, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype))
