"""What `sample.py` does with an unCLIP: pictures of prompts and variations of pictures.

As everywhere in the command, a picture to be made is first a record that says all there is to
know; `make_prompted` and `make_variations` compute the pictures of records of one setting.
"""

import argparse
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.pipelines.records import Record, read_source, record_keys
from clipdiff_jax.pipelines.unclip import UnClip, load_unclip
from clipdiff_jax.pipelines.unclip_networks import ImageEncoder
from clipdiff_jax.weights import fingerprint

# The options that only an unCLIP has, with what they are where they are not given.
OPTIONS: dict[str, float] = {
    "guidance": 8.0,
    "prior_guidance": 4.0,
    "prior_steps": 25,
    "upsample_steps": 7,
}
STEPS = 25
_OF_THE_PRIOR = ("prior_guidance", "prior_steps")
_HELP = {
    "guidance": "classifier-free guidance of the decoder; 1 is none",
    "prior_guidance": "the same of the prior",
    "prior_steps": "steps of the prior",
    "upsample_steps": "steps of the super-resolution",
}


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """The options of `generate` for models that take prompts."""
    group = parser.add_argument_group("models that take prompts (unCLIP)")
    group.add_argument("--prompt", action="append", help="what to draw; several times for several")
    group.add_argument(
        "--prompts", type=Path, metavar="FILE", help="a text file, one prompt a line"
    )
    _add_options(group, OPTIONS)


def add_vary_options(parser: argparse.ArgumentParser) -> None:
    """The options of `vary`, beside the pictures."""
    parser.add_argument("--count", type=int, default=1, help="variations of each picture")
    _add_options(parser, [name for name in OPTIONS if name not in _OF_THE_PRIOR])


def read_prompts(args: argparse.Namespace) -> list[str]:
    """The prompts of the command line and of its file; raises `ValueError` for a file of none."""
    prompts = list(args.prompt or ())
    if args.prompts is not None:
        lines = [line.strip() for line in args.prompts.read_text().splitlines()]
        found = [line for line in lines if line]
        if not found:
            raise ValueError(f"no prompts in '{args.prompts}'")
        prompts += found
    return prompts


def prompt_records(args: argparse.Namespace, prompts: Sequence[str]) -> list[Record]:
    """A record for each picture, `--count` of them a prompt."""
    count = 1 if args.count is None else args.count
    common = {"command": "generate", **_described(args, OPTIONS)}
    every = [prompt for prompt in prompts for _ in range(count)]
    return [
        {**common, "prompt": prompt, "index": i, "file": f"{args.seed}-{i:05d}.png"}
        for i, prompt in enumerate(every)
    ]


def variation_settings(args: argparse.Namespace) -> Record:
    """What the records of all variations have in common."""
    names = [name for name in OPTIONS if name not in _OF_THE_PRIOR]
    return {"command": "vary", **_described(args, names)}


def make_prompted(records: Sequence[Record]) -> jax.Array:
    """The pictures of records of `generate --prompt`, which differ in prompt and index only."""
    one = records[0]
    options = {name: one[name] for name in OPTIONS}
    prompts = [record["prompt"] for record in records]
    model = model_of(one)
    return model.generate(prompts, key=record_keys(records), steps=one["steps"], **options)


def make_variations(records: Sequence[Record]) -> jax.Array:
    """The pictures of records of `vary`, which differ in source and index only."""
    one = records[0]
    options = {name: one[name] for name in OPTIONS if name not in _OF_THE_PRIOR}
    model = model_of(one)
    images = np.stack([read_source(record, tower_size(model)) for record in records])
    return model.variations(images, key=record_keys(records), steps=one["steps"], **options)


def is_of_unclip(record: Record) -> bool:
    """Whether it was an unCLIP that made the picture of this record."""
    return record["command"] == "vary" or "prompt" in record


def model_of(record: Record) -> UnClip:
    """The model that a record, or the command line, names."""
    return _load(record["model"], record["dtype"])


@cache
def model_fingerprint(source: str, dtype: str) -> str:
    """The hash of a model's parameters, computed once: an unCLIP has many."""
    return fingerprint(_load(source, dtype).params)


def tower_size(model: UnClip) -> int:
    """Side of the pictures that the model varies; raises `ValueError` where it varies none."""
    image = model.configs.get("image")
    if not isinstance(image, ImageEncoder):
        raise ValueError(
            "this model has no image tower, so it makes no variations: give one that has, such as "
            "kakaobrain/karlo-v1-alpha-image-variations"
        )
    return image.tower.image_size


def _add_options(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    for name in names:
        value = OPTIONS[name]
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), help=f"{_HELP[name]} ({value:g})"
        )


def _described(args: argparse.Namespace, names: Iterable[str]) -> Record:
    path = Path(args.model)
    source = str(path.resolve()) if path.exists() else args.model
    given = {name: getattr(args, name) for name in names}
    return {
        "model": source,
        "model_fingerprint": model_fingerprint(source, args.dtype),
        "steps": STEPS if args.steps is None else args.steps,
        **{name: OPTIONS[name] if value is None else value for name, value in given.items()},
        "seed": args.seed,
        "dtype": args.dtype,
    }


@cache
def _load(source: str, dtype: str) -> UnClip:
    return load_unclip(source, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(dtype))
