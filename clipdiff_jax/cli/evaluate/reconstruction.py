"""`evaluate.py reconstruction`: what inversion and generation leave of held-out avatars."""

import argparse
import dataclasses
import itertools
from typing import Any, get_args

import numpy as np

from clipdiff_jax.cli.evaluate.metrics import Metric, add_lpips_options, pixel_metrics
from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_model_options,
    batches,
    table,
    write_results,
)
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.edit.api import Method, reconstruct
from clipdiff_jax.metrics.uncertainty import bootstrap
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion

METHODS: tuple[Method, ...] = get_args(Method)


def add(commands: Any) -> None:
    """Adds the subcommand to the parser's `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reconstruction", help="what inversion and generation leave of held-out avatars"
    )
    parser.set_defaults(run=run_reconstruction)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["ddim"])
    parser.add_argument("--t0", type=int, nargs="+", default=[300, 400, 500, 600])
    parser.add_argument(
        "--fixed-point", type=int, default=3, metavar="N",
        help="iterations an inversion step of the method fixed_point",
    )  # fmt: skip
    add_lpips_options(parser)
    add_model_options(parser, step_counts=True)


def run_reconstruction(args: argparse.Namespace) -> None:
    """`evaluate.py reconstruction`: a row for each method, number of steps, and t0."""
    metrics = pixel_metrics(args)
    base = load_diffusion(args.model)
    source = open_avatars(
        AvatarsData(
            size=base.config.image_size, split="test", count=args.count, styles=("avataaars",)
        )
    )
    images = to_float(np.stack([source[i]["image"] for i in range(args.count)]))
    shown, labels, results, lines = [images[:SHOWN]], ["face"], [], []
    for method, steps, t0 in itertools.product(args.methods, args.steps, args.t0):
        fixed_point = args.fixed_point if method == "fixed_point" else 0
        made = _reconstructed(images, base, method, t0, steps, fixed_point, args.batch_size)
        scores = _scores(metrics, made, images, args.batch_size)
        means = {name: bootstrap(values) for name, values in scores.items()}
        cost = evaluations(method, steps, fixed_point)
        results.append(
            {
                "method": method,
                "steps": steps,
                "fixed_point": fixed_point,
                "t0": t0,
                "evaluations": cost,
                "faces": len(images),
                "mean": {name: dataclasses.asdict(mean) for name, mean in means.items()},
            }
        )
        figures = (format(means[name], metric.digits) for name, metric in metrics.items())
        lines.append([method, str(steps), str(cost), str(t0), *figures])
        shown.append(made[:SHOWN])
        labels.append(f"{method}, {steps} steps, t0 {t0}")
    header = ["method", "steps", "evaluations", "t0", *(one.title for one in metrics.values())]
    write_results(args.out, results, table(header, lines), show(shown, rows=labels))


def evaluations(method: Method, steps: int, fixed_point: int) -> int:
    """How often a reconstruction evaluates the network, see `pipelines.edit.reconstruct`."""
    costs = {
        "ddim": 2 * steps - 1,
        "fixed_point": (2 + fixed_point) * steps,
        "edict": 4 * steps,
    }
    return costs[method]


def _reconstructed(
    images: np.ndarray,
    base: Diffusion,
    method: Method,
    t0: int,
    steps: int,
    fixed_point: int,
    batch_size: int,
) -> np.ndarray:
    parts = [
        np.asarray(
            reconstruct(part, base, t0=t0, steps=steps, fixed_point=fixed_point, method=method)
        )[:count]
        for part, count in batches(images, batch_size)
    ]
    return np.concatenate(parts)


def _scores(
    metrics: dict[str, Metric], made: np.ndarray, images: np.ndarray, batch_size: int
) -> dict[str, np.ndarray]:
    """Each metric's score of every picture, in batches of one shape."""
    both = batches(np.stack([made, images], axis=1), batch_size)
    parts = [
        {
            name: np.asarray(metric.scores(pair[:, 0], pair[:, 1]))[:count]
            for name, metric in metrics.items()
        }
        for pair, count in both
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in metrics}
