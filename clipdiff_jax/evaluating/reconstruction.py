"""`evaluate.py reconstruction`: what inversion and generation leave of held-out avatars."""

import argparse
from typing import Any

import numpy as np

from clipdiff_jax.data.avatars import AvatarsData, open_avatars
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.evaluate.counterfactual import psnr
from clipdiff_jax.evaluating.results import SHOWN, add_model_options, batches, write_results
from clipdiff_jax.pipelines.diffusion import load_diffusion
from clipdiff_jax.pipelines.edit import reconstruct
from clipdiff_jax.pipelines.grid import show


def add(commands: Any) -> None:
    """Adds the subcommand to the parser's `commands`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "reconstruction", help="what inversion and generation leave of held-out avatars"
    )
    parser.set_defaults(run=run_reconstruction)
    parser.add_argument("--t0", type=int, nargs="+", default=[300, 400, 500, 600])
    parser.add_argument("--fixed-point", type=int, default=0, help="iterations an inversion step")
    add_model_options(parser)


def run_reconstruction(args: argparse.Namespace) -> None:
    """`evaluate.py reconstruction`."""
    base = load_diffusion(args.model)
    size = base.config.image_size
    source = open_avatars(
        AvatarsData(size=size, split="test", count=args.count, styles=("avataaars",))
    )
    images = to_float(np.stack([source[i]["image"] for i in range(args.count)]))
    everywhere = np.ones((size, size), bool)
    rows, results = [images[:SHOWN]], []
    for t0 in args.t0:
        made = np.concatenate(
            [
                np.asarray(
                    reconstruct(part, base, t0=t0, steps=args.steps, fixed_point=args.fixed_point)
                )
                for part in batches(images, args.batch_size)
            ]
        )[: args.count]
        decibels = [psnr(a, b, everywhere) for a, b in zip(made, images, strict=True)]
        # In [0, 1], the range in which the editing papers give their errors.
        mae = float(np.abs(made - images).mean()) / 2
        results.append(
            {
                "t0": t0,
                "steps": args.steps,
                "fixed_point": args.fixed_point,
                "faces": args.count,
                "psnr": float(np.mean(decibels)),
                "psnr_std": float(np.std(decibels)),
                "mae": mae,
            }
        )
        rows.append(made[:SHOWN])
    lines = [
        f"| {r['t0']} | {r['steps']} | {r['psnr']:.1f} ± {r['psnr_std']:.1f} | {r['mae']:.4f} |"
        for r in results
    ]
    table = "\n".join(["| t0 | steps | PSNR, dB | MAE |", "|---|---|---|---|", *lines]) + "\n"
    grid = show(rows, rows=["face", *(f"t0 {t0}" for t0 in args.t0)])
    write_results(args.out, results, table, grid)
