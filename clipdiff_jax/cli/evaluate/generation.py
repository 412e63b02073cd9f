"""`clipdiff evaluate generation`: whether pictures made from texts show what the texts name."""

import argparse
import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.cli.evaluate.results import SHOWN, add_model_options, check_options, write_results
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.core.batching import batch_count, filled_batches
from clipdiff_jax.core.keys import picture_keys
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.avatars.faces import render
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.avatars.counterfactual import Classifier
from clipdiff_jax.metrics.avatars.generation import (
    COMBINATIONS,
    GenerationScores,
    Prompt,
    draw_prompts,
    fitting_faces,
    score_generation,
    variety,
)
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.unclip.drawing import PRIORS, Drawing
from clipdiff_jax.unclip.load import load_unclip
from clipdiff_jax.unclip.model import UPSAMPLERS, UnClip

DEFAULT = Drawing(guidance=2.0, prior_guidance=2.0, steps=40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument(
        "--combinations", nargs="+", choices=COMBINATIONS, default=COMBINATIONS,
        help="prompts that name pairs of attributes seen in training, or never seen together, or "
        "the colours of hair and clothes alone",
    )  # fmt: skip
    several = ("guidance", "candidates")
    add_options(parser, DEFAULT, (*several, "prior_guidance", "steps"), several=several)
    parser.add_argument(
        "--priors", nargs="+", choices=PRIORS, help="which priors (default: the first available)"
    )
    parser.add_argument(
        "--each", type=int, default=1, metavar="N",
        help="pictures of each text (1); from 2 on the table says how varied they are",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of all randomness (0)"
    )
    parser.add_argument("--classifier", default="demo", help="attribute classifier, or 'demo'")
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """A row for each combination, prior, number of candidates and scale."""
    check_options(args)
    drawings = _settings(args)
    model = load_unclip(args.model)
    model = model.without(*(name for name in UPSAMPLERS if name in model.loaded))
    classifier = load_attributes(args.classifier)
    size = model.part("decoder").config.image_size
    lines, results, rows, labels = [GenerationScores.markdown_header()], [], [], []
    for combination in args.combinations:
        texts = draw_prompts(args.count, combination)
        prompts = [prompt for prompt in texts for _ in range(args.each)]
        varied_truth = _variety_of_data(texts, args.each, size, classifier)
        renders = to_float(np.stack([render(prompt.face, size) for prompt in prompts]))
        rows.append(renders[: SHOWN * args.each : args.each])
        labels.append(f"{combination}: render")
        for one in drawings:
            made = _generated(args, model, prompts, one)
            scores = score_generation(prompts, made, classifier, renders)
            if args.each > 1:
                varied = variety(prompts, made, classifier)
                scores = dataclasses.replace(scores, varied=varied, varied_truth=varied_truth)
            what = f"{one.prior or 'prior'}, {one.candidates} drawn, guidance {one.guidance:g}"
            lines.append(scores.to_markdown(f"{combination}: {what}"))
            setting = {"combination": combination, "prior": one.prior}
            setting |= {"candidates": one.candidates, "guidance": one.guidance}
            results.append(setting | dataclasses.asdict(scores))
            rows.append(made[: SHOWN * args.each : args.each])
            labels.append(what)
    write_results(args.out, results, "\n".join(lines) + "\n", show(rows, rows=labels))


def _settings(args: argparse.Namespace) -> list[Drawing]:
    """Every combination of prior, candidates and guidance. Raises `ValueError` for a wrong one."""
    drawing = from_args(DEFAULT, args, leave_out=("guidance", "candidates"))
    candidates = getattr(args, "candidates", [DEFAULT.candidates])
    scales = getattr(args, "guidance", [DEFAULT.guidance])
    return [
        drawing.replace(prior=prior, candidates=count, guidance=scale)
        for prior, count, scale in itertools.product(args.priors or [None], candidates, scales)
    ]


def _variety_of_data(
    texts: Sequence[Prompt], each: int, size: int, classifier: Classifier
) -> float | None:
    """`variety` of renders that fit the texts; None for one per text."""
    if each == 1:
        return None
    prompts = [prompt for prompt in texts for _ in range(each)]
    faces = [face for prompt in texts for face in fitting_faces(prompt, each)]
    return variety(prompts, to_float(np.stack([render(f, size) for f in faces])), classifier)


def _generated(
    args: argparse.Namespace,
    model: UnClip,
    prompts: Sequence[Prompt],
    drawing: Drawing,
) -> np.ndarray:
    """A small picture for each prompt, in batches of one shape."""
    texts = [prompt.text for prompt in prompts]
    keys = picture_keys(jax.random.key(args.seed), jnp.arange(len(texts)))
    parts = []
    total = batch_count(len(texts), args.batch_size)
    batches = filled_batches(np.arange(len(texts)), args.batch_size)
    for chosen, count in bar(batches, "pictures", unit="batch", total=total):
        made = model.generate(
            [texts[i] for i in chosen], key=keys[chosen], guidance=drawing.guidance,
            steps=drawing.steps, prior=drawing.prior, prior_guidance=drawing.prior_guidance,
            candidates=drawing.candidates,
        )  # fmt: skip
        parts.append(np.asarray(made)[:count])
    return np.concatenate(parts)
