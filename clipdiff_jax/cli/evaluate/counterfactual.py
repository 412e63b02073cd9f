"""`evaluate.py counterfactual`: an edit of held-out avatars against their true counterfactuals."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from clipdiff_jax.cli.evaluate.results import SHOWN, add_model_options, batches, write_results
from clipdiff_jax.edit.api import edit, load_edit
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.avatars.counterfactual import (
    AttributeEdit,
    EditScores,
    draw_pairs,
    score_edit,
)
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pixel.load import load_diffusion


def add(commands: Any) -> None:
    """Adds the subcommand to the parser's `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "counterfactual", help="an edit of held-out avatars against their true counterfactuals"
    )
    parser.set_defaults(run=run_counterfactual)
    parser.add_argument("--edit", type=Path, required=True, help="what train.py wrote")
    parser.add_argument("--attribute", required=True, help="what the edit changes, such as mouth")
    parser.add_argument("--target", required=True, help="the value it should have afterwards")
    parser.add_argument("--sources", nargs="*", default=[], help="values before (default: any)")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--t0", type=int, help="time index to invert to (default: as trained)")
    parser.add_argument("--classifier", default="demo", help="attribute classifier, or 'demo'")
    add_model_options(parser)


def run_counterfactual(args: argparse.Namespace) -> None:
    """`evaluate.py counterfactual`."""
    wanted = AttributeEdit(args.attribute, args.target, tuple(args.sources))
    base, learned = load_diffusion(args.model), load_edit(args.edit)
    classifier = load_attributes(args.classifier)
    pairs = draw_pairs(wanted, args.count, base.config.image_size)
    edited = np.concatenate(
        [
            np.asarray(edit(part, base, learned, args.strength, t0=args.t0, steps=args.steps))[:n]
            for part, n in batches(pairs.originals, args.batch_size)
        ]
    )
    scores = score_edit(wanted, pairs, edited, classifier)
    table = f"{EditScores.markdown_header()}\n{scores.to_markdown()}\n"
    rows = [pairs.originals[:SHOWN], edited[:SHOWN], pairs.truths[:SHOWN]]
    grid = show(rows, rows=["face", "edited", "truth"])
    write_results(args.out, dataclasses.asdict(scores) | {"strength": args.strength}, table, grid)
