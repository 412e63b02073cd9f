"""`clipdiff evaluate counterfactual`: an edit of held-out avatars against the true changes."""

import argparse
import dataclasses

import numpy as np

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_model_options,
    batches,
    check_options,
    write_results,
)
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.edit.api import edit
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.avatars.counterfactual import (
    AttributeEdit,
    EditScores,
    draw_pairs,
    score_edit,
)
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion

DEFAULT = Editing()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument(
        "--edit", required=True, metavar="FOLDER",
        help="what `clipdiff train` wrote, or a ready one such as demo/smile",
    )  # fmt: skip
    parser.add_argument("--attribute", required=True, help="what the edit changes, such as mouth")
    parser.add_argument("--target", required=True, help="the value it should have afterwards")
    parser.add_argument("--sources", nargs="*", default=[], help="values before (default: any)")
    add_options(parser, DEFAULT, ("strength", "t0", "steps"))
    parser.add_argument("--classifier", default="demo", help="attribute classifier, or 'demo'")
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """`clipdiff evaluate counterfactual`."""
    check_options(args)
    editing = from_args(DEFAULT, args)
    wanted = AttributeEdit(args.attribute, args.target, tuple(args.sources))
    base, learned = load_diffusion(args.model), load_edit(args.edit)
    classifier = load_attributes(args.classifier)
    pairs = draw_pairs(wanted, args.count, base.config.image_size)
    edited = np.concatenate(
        [
            _edited(part, base, learned, editing)[:n]
            for part, n in batches(pairs.originals, args.batch_size)
        ]
    )
    scores = score_edit(wanted, pairs, edited, classifier)
    table = f"{EditScores.markdown_header()}\n{scores.to_markdown()}\n"
    rows = [pairs.originals[:SHOWN], edited[:SHOWN], pairs.truths[:SHOWN]]
    grid = show(rows, rows=["face", "edited", "truth"])
    write_results(
        args.out, dataclasses.asdict(scores) | {"strength": editing.strength}, table, grid
    )


def _edited(images: np.ndarray, base: Diffusion, learned: Edit, editing: Editing) -> np.ndarray:
    return np.asarray(edit(images, base, learned, editing=editing))
