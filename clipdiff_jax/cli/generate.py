"""`clipdiff generate`: new pictures, of prompts by an unCLIP or a latent model, or of none."""

import argparse
from typing import Any

from clipdiff_jax.cli import latent_pictures, prompts, unconditional
from clipdiff_jax.cli.arguments import (
    DEMO,
    add_model,
    add_results,
    check_at_least,
    check_results,
    results_of,
)
from clipdiff_jax.cli.make import Maker
from clipdiff_jax.cli.marks import add_watermark
from clipdiff_jax.cli.on_targets import add_target, report_on, targets_of
from clipdiff_jax.cli.options import add_options, from_args, given, option_name
from clipdiff_jax.cli.prompt_files import drawn, read_prompts
from clipdiff_jax.latent.load import is_latent
from clipdiff_jax.latent.outline import is_outlined_latent
from clipdiff_jax.pictures.records import Record
from clipdiff_jax.unclip.load import is_unclip

COMMAND = "generate"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many pictures, of what, and how they are sampled."""
    parser.add_argument(
        "--count", type=int, metavar="N",
        help=f"pictures ({unconditional.COUNT}; 1 for each prompt)",
    )  # fmt: skip
    parser.add_argument(
        "--size", type=int, metavar="N",
        help="pixels along a side (the model's; of an unCLIP the most that its upsamplers give, or "
        "one of the sizes before)",
    )  # fmt: skip
    one, other = unconditional.DEFAULT, prompts.DEFAULT
    both = {
        "steps": f"{one.steps}; {other.steps} of a decoder",
        "sampler": f"{one.sampler}; {other.sampler} of a decoder",
        "eta": f"{one.eta:g}",
        "threshold": "clip x0 to the range instead",
    }
    add_options(parser, one, tuple(both), shown=both)
    parser.add_argument(
        "--class", dest="classes", nargs="+", type=int, metavar="N",
        help="what to draw, by a model that has classes; several take turns",
    )  # fmt: skip
    prompts.add_arguments(parser)
    latent_pictures.add_generate_arguments(parser)
    add_model(parser)
    add_watermark(parser)
    add_results(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="make nothing, and say what --target takes for it"
    )
    add_target(parser)


def run(args: argparse.Namespace) -> None:
    """Pictures of the prompts, or of none."""
    check_results(args)
    if args.count is not None:
        check_at_least("--count", args.count, 1)
    if args.size is not None:
        check_at_least("--size", args.size, 1)
        if args.dry_run:
            raise ValueError("--size is not of --dry-run, which takes the model's own")
    if targets := targets_of(args):
        return report_on(targets, _request(args))
    if args.dry_run:
        raise ValueError("--dry-run needs --target, such as --target h100:1")
    results = results_of(args, COMMAND)
    texts = read_prompts(args)
    if args.layout is not None:
        if texts or args.classes is not None:
            raise ValueError("--layout has its own prompt: leave out --prompt and --class")
        if not is_latent(args.model):
            raise ValueError(f"--layout is of latent models, '{args.model}' is none")
    if texts or args.layout is not None:
        if args.classes is not None:
            raise ValueError("--class is of models without texts: leave out --prompt")
        if is_latent(args.model):
            if options := given(args, prompts.OF_UNCLIP):
                raise ValueError(
                    f"{option_name(options[0])} is of an unCLIP, not of a latent model"
                )
            return latent_pictures.generate(args, texts, results)
        if options := latent_pictures.of_generate(args):
            raise ValueError(
                f"{option_name(options[0])} is of latent models, '{args.model}' is none"
            )
        return prompts.generate(args, texts, results)
    options = [*given(args, prompts.OPTIONS), *latent_pictures.of_generate(args)]
    if options or (args.model != DEMO and (is_unclip(args.model) or is_latent(args.model))):
        reason = option_name(options[0]) if options else f"the model '{args.model}'"
        raise ValueError(f"{reason} is for pictures from texts: give --prompt")
    unconditional.generate(args, results)


def _request(args: argparse.Namespace) -> dict[str, Any]:
    """What is to be compiled: a batch of as many pictures as the command computes at once."""
    request = {"command": COMMAND, "model": args.model, "dtype": args.dtype}
    if texts := read_prompts(args):
        count = len(drawn(texts, args))
        if is_outlined_latent(args.model):
            request["painting"] = latent_pictures.request_of_prompts(args).to_dict()
        else:
            request["drawing"] = from_args(prompts.DEFAULT, args).to_dict()
    else:
        count = args.count or unconditional.COUNT
        request["sampling"] = from_args(unconditional.DEFAULT, args).to_dict()
    return request | {"batch": min(args.batch_size, count)}


def maker_of(record: Record) -> Maker:
    """Loads what makes a record again."""
    if record.get("system") == latent_pictures.SYSTEM:
        return latent_pictures.maker_of(record)
    return (prompts if "prompt" in record else unconditional).maker_of(record)
