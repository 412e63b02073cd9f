"""`clipdiff evaluate zero-shot`: what a CLIP of avatars knows of held-out faces."""

import argparse

import numpy as np

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_model_options,
    check_options,
    table,
    write_results,
)
from clipdiff_jax.clip.model import load_clip
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.metrics.zero_shot import scores
from clipdiff_jax.pictures.grid import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which CLIP, and of how many faces."""
    add_model_options(parser)
    parser.set_defaults(count=1024)


def run(args: argparse.Namespace) -> None:
    """Retrieval of captions, and the accuracy of each attribute."""
    check_options(args)
    clip = load_clip(args.model)
    source = open_avatars(AvatarsData(split="valid", count=args.count))
    found = scores(clip, source, batch_size=args.batch_size)
    rows = [[name, f"{value:.3f}"] for name, value in found.items()]
    faces = np.stack([source[i]["image"] for i in range(min(SHOWN, len(source)))])
    results = {"model": str(args.model), "faces": len(source), "scores": found}
    write_results(args.out, results, table(["what", "share that is right"], rows), show([faces]))
