"""`sample.py generate --prompt`: pictures of texts, and what a prior is good for.

unCLIP (Ramesh et al. 2022, arXiv 2204.06125, section 5.1) is compared with its decoder given the
text's own embedding in place of an image's, and given the text alone: `--embedding`.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from clipdiff_jax.cli.make import Kind, make
from clipdiff_jax.cli.results import cell, save_columns, save_square
from clipdiff_jax.cli.sources import free_name
from clipdiff_jax.cli.unclip_model import (
    add_options,
    checked_eta,
    described,
    model_fingerprint,
    model_of,
    resolved,
)
from clipdiff_jax.pictures.records import Record, record_keys
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.unclip.networks import SAMPLERS
from clipdiff_jax.unclip.parts import PRIORS

# The options that have numbers, with what they are where they are not given.
_OF_DECODER: dict[str, float | None] = {"guidance": None, "upsample_steps": 7}
_OF_PRIOR: dict[str, float | None] = {
    "prior_guidance": None, "prior_steps": 25, "candidates": 1, "temperature": 1.0,
}  # fmt: skip
_HAS = {
    "prior": ("prior_guidance", "prior_steps", "candidates"),
    "ar_prior": ("prior_guidance", "candidates", "temperature"),
    "direct_prior": (),
}
OPTIONS = (*_OF_DECODER, *_OF_PRIOR, "sampler", "threshold", "prior", "embedding")
_LABELS = {"prior": "prior", "text": "text embedding", "none": "caption alone"}
_UNSAID = {
    "sampler": "ancestral", "eta": 0.0, "threshold": None, "prior": None, "embedding": "prior",
}  # fmt: skip


def add_prompt_options(parser: argparse.ArgumentParser) -> None:
    """The options of `generate` for models that take prompts."""
    group = parser.add_argument_group("models that take prompts (unCLIP)")
    group.add_argument("--prompt", action="append", help="what to draw; several times for several")
    group.add_argument(
        "--prompts", type=Path, metavar="FILE", help="a text file, one prompt a line"
    )
    add_options(group, _OF_DECODER | _OF_PRIOR)
    group.add_argument("--prior", choices=PRIORS, help="which prior draws (the first there is)")
    group.add_argument("--sampler", choices=SAMPLERS, help="of the decoder (ancestral)")
    group.add_argument(
        "--threshold", type=float, metavar="PERCENTILE",
        help="dynamic thresholding of the decoder, such as 99.5 (default: clip to the range)",
    )  # fmt: skip
    group.add_argument(
        "--embedding", nargs="+", choices=tuple(_LABELS),
        help="what to decode: the prior's embedding (default), the text's own, or none but the "
        "text; several give several rows",
    )  # fmt: skip


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


def run_prompts(args: argparse.Namespace, prompts: Sequence[str]) -> None:
    """`sample.py generate --prompt`: `--count` pictures of each."""
    sampler = args.sampler or _UNSAID["sampler"]
    if args.eta and sampler != "ddim":
        raise ValueError(f"--eta {args.eta:g} is of DDIM: give --sampler ddim")
    embeddings = list(dict.fromkeys(args.embedding or ["prior"]))
    given = [name for name in (*_OF_PRIOR, "prior") if getattr(args, name) is not None]
    if given and "prior" not in embeddings:
        raise ValueError(f"--{_option(given[0])} is of a prior: add 'prior' to --embedding")
    if args.threshold is not None and not 0 < args.threshold <= 100:
        raise ValueError(f"--threshold {args.threshold:g}, expected a percentile above 0, to 100")
    of_decoder = {"sampler": sampler, "eta": checked_eta(args.eta), "threshold": args.threshold}
    common = {"command": "generate", **described(args, _OF_DECODER), **of_decoder}
    of_prior = _prior_settings(args, model_of(common), given) if "prior" in embeddings else {}
    count = 1 if args.count is None else args.count
    every = [prompt for prompt in prompts for _ in range(count)]
    records: list[Record] = []
    taken: set[str] = set()
    for embedding in embeddings:
        suffix = "" if len(embeddings) == 1 else f"-{embedding}"
        setting = {**common, "embedding": embedding, **(of_prior if embedding == "prior" else {})}
        for index, prompt in enumerate(every):
            name = free_name(f"{args.seed}-{index:05d}{suffix}", taken)
            records.append({**setting, "prompt": prompt, "index": index, "file": name})
    make(records, lambda record: KIND, args.out, args.batch_size)
    if len(embeddings) == 1:
        save_square(args.out, records)
        return
    columns = [[cell(args.out, one) for one in records[i :: len(every)]] for i in range(len(every))]
    save_columns(args.out, columns, [_LABELS[embedding] for embedding in embeddings])


def _prior_settings(args: argparse.Namespace, model: UnClip, given: Sequence[str]) -> Record:
    """Which prior draws, and its options; raises `ValueError` for those that it lacks."""
    prior = model.prior_stage(args.prior)
    for name in given:
        if name != "prior" and name not in _HAS[prior]:
            raise ValueError(f"--{_option(name)} is given, but a stage '{prior}' has no such thing")
    if args.candidates is not None and args.candidates < 1:
        raise ValueError(f"--candidates must be at least 1, got {args.candidates}")
    values = {name: getattr(args, name) for name in _HAS[prior]}
    return {"prior": prior, **resolved(model, _OF_PRIOR, values, prior)}


def _option(name: str) -> str:
    return name.replace("_", "-")


def _compute(records: Sequence[Record]) -> jax.Array:
    one: dict[str, Any] = {**_UNSAID, **_OF_PRIOR, **records[0]}
    model, keys = model_of(one), record_keys(records)
    prompts = [record["prompt"] for record in records]
    embed: dict[str, Callable[[], jax.Array | None]] = {
        "prior": partial(
            model.embed_prompts,
            prompts,
            key=keys,
            guidance=one["prior_guidance"],
            steps=one["prior_steps"],
            candidates=one["candidates"],
            temperature=one["temperature"],
            prior=one["prior"],
        ),
        "text": lambda: model.encode_texts(prompts).embedding,
        "none": lambda: None,
    }
    small = model.decode(
        embed[one["embedding"]](),
        prompts,
        key=keys,
        guidance=one["guidance"],
        steps=one["steps"],
        sampler=one["sampler"],
        eta=one["eta"],
        threshold=one["threshold"],
    )
    return model.enlarge(small, key=keys, steps=one["upsample_steps"])


KIND = Kind(_compute, model_fingerprint, own=("file", "index", "prompt"))
