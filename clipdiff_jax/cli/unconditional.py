"""`sample.py generate` without prompts: new pictures from a diffusion model."""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp

from clipdiff_jax.cli.make import Kind
from clipdiff_jax.pictures.records import Record, record_keys
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import fingerprint

STEPS, COUNT = 40, 16


def sample_records(args: argparse.Namespace) -> list[Record]:
    """A record for each picture."""
    base = base_model(args.model, args.dtype)
    common = {"command": "generate", **described_base(args, base), "eta": args.eta}
    return [
        {**common, "index": index, "file": f"{args.seed}-{index:05d}.png"}
        for index in range(COUNT if args.count is None else args.count)
    ]


def described_base(args: argparse.Namespace, base: Diffusion) -> Record:
    """What records say of a diffusion model and how it samples."""
    return {
        "model": args.model if args.model == "demo" else str(Path(args.model).resolve()),
        "model_fingerprint": fingerprint(base.params),
        "steps": STEPS if args.steps is None else args.steps,
        "seed": args.seed,
        "dtype": args.dtype,
    }


@cache
def base_model(source: str, dtype: str) -> Diffusion:
    """The diffusion model that a record, or the command line, names."""
    return load_diffusion(source, dtype=jnp.dtype(dtype))


@cache
def base_fingerprint(source: str, dtype: str) -> str:
    """The hash of a model's parameters."""
    return fingerprint(base_model(source, dtype).params)


def _compute(records: Sequence[Record]) -> jax.Array:
    one = records[0]
    base = base_model(one["model"], one["dtype"])
    return base.generate(key=record_keys(records), steps=one["steps"], eta=one["eta"])


KIND = Kind(_compute, base_fingerprint, own=("file", "index"))
