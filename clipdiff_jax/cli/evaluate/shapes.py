"""`clipdiff evaluate shapes`: colours on shapes and shapes in places, by each way to steer.

    clipdiff evaluate shapes --model runs/shapes-latent --count 200 --each 4 --out out

The model is one of `configs/shapes`. The prompts name two or three objects of different colours and
shapes; all ways draw them with the same keys, and `metrics.shapes` looks at what came out.
"""

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.cli.evaluate.results import (
    SHOWN,
    add_model_options,
    check_options,
    mean_of,
    table,
    write_results,
)
from clipdiff_jax.core.keys import picture_keys
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.shapes import MOST, Scene, caption, draw_scene
from clipdiff_jax.latent.load import load_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.latent.steering.layout import Region
from clipdiff_jax.metrics.shapes import judge_binding, judge_layout
from clipdiff_jax.pictures.grid import show

METHODS = ("plain", "collage", "structured", "attend", "syngen")
_SCENES = 0x5CE7E  # sets the prompts apart from the data's pictures of the same seed
_TITLES = {
    "right": "colours on their shapes ↑",
    "swapped": "swapped ↓",
    "missing": "missing ↓",
    "present": "in its box ↑",
    "colored": "of the right colour ↑",
    "shaped": "of the right shape ↑",
    "spill": "spill ↓",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which model, which ways, and how many pictures."""
    add_model_options(parser)
    parser.add_argument(
        "--methods", nargs="+", choices=METHODS, default=list(METHODS), help="ways to steer (all)"
    )
    parser.add_argument("--each", type=int, default=4, metavar="N", help="pictures a prompt (4)")
    parser.add_argument("--objects", type=int, default=2, choices=range(1, MOST + 1),
                        help="objects of a prompt (2)")  # fmt: skip
    parser.add_argument("--steps", type=int, default=25, metavar="N", help="steps of DDIM (25)")
    parser.add_argument("--guidance", type=float, metavar="X", help="scale (the model's own)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of prompts and noise (0)")


def run(args: argparse.Namespace) -> None:
    """Draws every prompt in every way and counts."""
    check_options(args)
    model = load_latent(args.model)
    scenes = [
        draw_scene(np.random.default_rng((args.seed, _SCENES, i)), args.objects, distinct=True)
        for i in range(args.count)
    ]
    results: dict[str, Any] = {}
    rows, shown = [], []
    for method in dict.fromkeys(args.methods):
        start = time.perf_counter()
        images = _draw(model, method, scenes, args)
        seconds = time.perf_counter() - start
        found = _judge(images, scenes, args.each)
        results[method] = {"seconds_per_picture": seconds / len(images), "scores": found}
        rows.append([method, *(_shown(found[name]) for name in _TITLES)])
        shown.append(images[:: args.each][:SHOWN])
    scores = {
        "model": str(args.model), "prompts": args.count, "each": args.each, "steps": args.steps,
        "guidance": args.guidance, "methods": results,
    }  # fmt: skip
    header = [f"{args.count} prompts x {args.each}", *_TITLES.values()]
    write_results(args.out, scores, table(header, rows), show(shown))


def _draw(
    model: LatentDiffusion, method: str, scenes: list[Scene], args: argparse.Namespace
) -> np.ndarray:
    """`--each` pictures of each scene, those of the first first; one way's keys are another's."""
    options = {"steps": args.steps, "guidance": args.guidance}
    keys = [
        picture_keys(jax.random.fold_in(jax.random.key(args.seed), i), jnp.arange(args.each))
        for i in range(len(scenes))
    ]
    if method == "collage":
        parts = []
        for scene, own in zip(bar(scenes, method, unit="prompt"), keys, strict=True):
            regions = [Region(thing.phrase, thing.box) for thing in scene]
            drawn = model.collage(
                caption(scene), regions, key=own, count=args.each, batch=args.batch_size, **options
            )
            parts.append(np.asarray(drawn))
        return np.concatenate(parts)
    binding: Any = None if method == "plain" else method
    prompts = [caption(scene) for scene in scenes for _ in range(args.each)]
    every, size, parts = jnp.concatenate(keys), args.batch_size, []
    for start in bar(range(0, len(prompts), size), method, unit="batch"):
        part = slice(start, start + size)
        drawn = model.generate(prompts[part], key=every[part], binding=binding, **options)
        parts.append(np.asarray(drawn))
    return np.concatenate(parts)


def _judge(images: np.ndarray, scenes: list[Scene], each: int) -> dict[str, dict[str, float]]:
    """The mean of everything that is found, with half its 95 % interval."""
    values: dict[str, list[float]] = {name: [] for name in _TITLES}
    for i, image in enumerate(images):
        scene = scenes[i // each]
        for name, value in judge_binding(image, scene)._asdict().items():
            values[name].append(float(value))
        for name, value in judge_layout(image, scene)._asdict().items():
            values[name] += np.atleast_1d(value).astype(float).tolist()
    means = {name: mean_of(found) for name, found in values.items()}
    return {
        name: {"value": one.value, "interval": 1.96 * one.uncertainty}
        for name, one in means.items()
    }


def _shown(score: dict[str, float]) -> str:
    return f"{100 * score['value']:.1f} ± {100 * score['interval']:.1f} %"
