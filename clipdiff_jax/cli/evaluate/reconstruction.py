"""`clipdiff evaluate reconstruction`: how well inversion and generation reproduce avatars."""

import argparse
import dataclasses
import itertools
from typing import get_args

import numpy as np

from clipdiff_jax.cli.evaluate.metrics import add_lpips_options, pixel_metrics
from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_model_options,
    batches,
    check_options,
    mean_of,
    table,
    write_results,
)
from clipdiff_jax.cli.options import add_options
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.edit.api import reconstruct
from clipdiff_jax.edit.editing import Editing, Method
from clipdiff_jax.metrics.registry import PairMetric
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion

METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT = Editing(fixed_point=3)
T0 = (300, 400, 500, 600)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how."""
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=["ddim"], help="how to invert (ddim)"
    )
    several = ("t0", "steps")
    add_options(
        parser, DEFAULT, (*several, "fixed_point"), several=several,
        shown={"t0": " ".join(map(str, T0))},
    )  # fmt: skip
    add_lpips_options(parser)
    add_model_options(parser)


def run(args: argparse.Namespace) -> None:
    """`clipdiff evaluate reconstruction`: a row for each method, number of steps, and t0."""
    check_options(args)
    settings = _settings(args)
    metrics = pixel_metrics(args)
    base = load_diffusion(args.model)
    source = open_avatars(
        AvatarsData(
            size=base.config.image_size, split="test", count=args.count, styles=("avataaars",)
        )
    )
    images = to_float(np.stack([source[i]["image"] for i in range(args.count)]))
    shown, labels, results, lines = [images[:SHOWN]], ["face"], [], []
    for one in settings:
        method, steps, t0 = one.inversion, one.steps, one.t0
        made = _reconstructed(images, base, one, args.batch_size)
        scores = _scores(metrics, made, images, args.batch_size)
        means = {name: mean_of(values) for name, values in scores.items()}
        cost = evaluations(one)
        results.append(
            {
                "method": method,
                "steps": steps,
                "fixed_point": one.fixed_point,
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


def evaluations(editing: Editing) -> int:
    """How often a reconstruction evaluates the network, see `edit.api.reconstruct`."""
    steps = editing.steps
    costs = {
        "ddim": 2 * steps - 1,
        "fixed_point": (2 + editing.fixed_point) * steps,
        "edict": 4 * steps,
    }
    return costs[editing.inversion]


def _settings(args: argparse.Namespace) -> list[Editing]:
    """Every combination of method, number of steps and t0. Raises `ValueError` for a wrong one."""
    iterations = getattr(args, "fixed_point", DEFAULT.fixed_point)
    steps, times = getattr(args, "steps", [DEFAULT.steps]), getattr(args, "t0", T0)
    return [
        Editing(
            method=method,
            steps=count,
            t0=t0,
            fixed_point=iterations if method == "fixed_point" else 0,
        )
        for method, count, t0 in itertools.product(args.methods, steps, times)
    ]


def _reconstructed(
    images: np.ndarray,
    base: Diffusion,
    editing: Editing,
    batch_size: int,
) -> np.ndarray:
    parts = [
        np.asarray(reconstruct(part, base, editing=editing))[:count]
        for part, count in batches(images, batch_size)
    ]
    return np.concatenate(parts)


def _scores(
    metrics: dict[str, PairMetric], made: np.ndarray, images: np.ndarray, batch_size: int
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
