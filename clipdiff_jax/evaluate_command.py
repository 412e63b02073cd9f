"""The command behind `evaluate.py`: what an edit or a model is worth, in numbers and a picture.

    python evaluate.py counterfactual --edit runs/smile --attribute mouth --target smile \\
        --sources serious --count 200 --out runs/smile/scores
    python evaluate.py reconstruction --model demo --t0 300 500 --out runs/reconstruction
    python evaluate.py generation --model demo --guidance 1 2 4 --out runs/generation

Each writes `scores.json`, `scores.md` and `grid.png` into its folder, and prints the table.
"""

import argparse
import dataclasses
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax.command import run_command
from clipdiff_jax.data.avatar_faces import render
from clipdiff_jax.data.avatars import AvatarsData, open_avatars
from clipdiff_jax.data.transforms import to_float
from clipdiff_jax.diffusion.sampler import picture_keys
from clipdiff_jax.evaluate.attributes import load_attributes
from clipdiff_jax.evaluate.counterfactual import (
    AttributeEdit,
    EditScores,
    draw_pairs,
    psnr,
    score_edit,
)
from clipdiff_jax.evaluate.generation import (
    COMBINATIONS,
    GenerationScores,
    Prompt,
    draw_prompts,
    score_generation,
)
from clipdiff_jax.pipelines.diffusion import load_diffusion
from clipdiff_jax.pipelines.edit import edit, load_edit, reconstruct
from clipdiff_jax.pipelines.grid import Grid, show
from clipdiff_jax.pipelines.unclip import UPSAMPLERS, UnClip
from clipdiff_jax.pipelines.unclip_load import load_unclip
from clipdiff_jax.pipelines.unclip_stages import PRIORS
from clipdiff_jax.writing import write_whole

SHOWN = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status, see `run_command`."""
    return run_command(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser(
        "counterfactual", help="an edit of held-out avatars against their true counterfactuals"
    )
    one.set_defaults(run=counterfactual)
    one.add_argument("--edit", type=Path, required=True, help="what train.py wrote")
    one.add_argument("--attribute", required=True, help="what the edit changes, such as mouth")
    one.add_argument("--target", required=True, help="the value it should have afterwards")
    one.add_argument("--sources", nargs="*", default=[], help="values before (default: any)")
    one.add_argument("--strength", type=float, default=1.0)
    one.add_argument("--t0", type=int, help="time index to invert to (default: as trained)")
    one.add_argument("--classifier", default="demo", help="attribute classifier, or 'demo'")

    two = commands.add_parser(
        "reconstruction", help="what inversion and generation leave of held-out avatars"
    )
    two.set_defaults(run=reconstruction)
    two.add_argument("--t0", type=int, nargs="+", default=[300, 400, 500, 600])
    two.add_argument("--fixed-point", type=int, default=0, help="iterations an inversion step")

    three = commands.add_parser(
        "generation", help="whether pictures made from texts show what the texts name"
    )
    three.set_defaults(run=generation)
    three.add_argument(
        "--combinations", nargs="+", choices=COMBINATIONS, default=COMBINATIONS,
        help="prompts that name pairs of attributes seen in training, or never seen together",
    )  # fmt: skip
    three.add_argument("--guidance", type=float, nargs="+", default=[2.0], help="of the decoder")
    three.add_argument("--prior-guidance", type=float, default=2.0)
    three.add_argument(
        "--priors", nargs="+", help=f"which priors, of {', '.join(PRIORS)} (default: the first)"
    )
    three.add_argument("--candidates", type=int, nargs="+", default=[1], help="drawn by the prior")
    three.add_argument("--seed", type=int, default=0)
    three.add_argument("--classifier", default="demo", help="attribute classifier, or 'demo'")

    for command in (one, two, three):
        command.add_argument("--model", default="demo", help="the model: 'demo' or a folder")
        command.add_argument("--steps", type=int, default=40)
        command.add_argument("--count", type=int, default=200, help="held-out faces")
        command.add_argument("--batch-size", type=int, default=16)
        command.add_argument("--out", type=Path, required=True, help="folder for the results")
    return parser


def counterfactual(args: argparse.Namespace) -> None:
    """`evaluate.py counterfactual`."""
    wanted = AttributeEdit(args.attribute, args.target, tuple(args.sources))
    base, learned = load_diffusion(args.model), load_edit(args.edit)
    classifier = load_attributes(args.classifier)
    pairs = draw_pairs(wanted, args.count, base.config.image_size)
    edited = np.concatenate(
        [
            np.asarray(edit(part, base, learned, args.strength, t0=args.t0, steps=args.steps))
            for part in _batches(pairs.originals, args.batch_size)
        ]
    )[: args.count]
    scores = score_edit(wanted, pairs, edited, classifier)
    table = f"{EditScores.markdown_header()}\n{scores.to_markdown()}\n"
    rows = [pairs.originals[:SHOWN], edited[:SHOWN], pairs.truths[:SHOWN]]
    grid = show(rows, rows=["face", "edited", "truth"])
    _write(args.out, dataclasses.asdict(scores) | {"strength": args.strength}, table, grid)


def reconstruction(args: argparse.Namespace) -> None:
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
                for part in _batches(images, args.batch_size)
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
    _write(args.out, results, table, grid)


def generation(args: argparse.Namespace) -> None:
    """`evaluate.py generation`: a row for each combination, prior, number of candidates, scale."""
    model = load_unclip(args.model)
    model = model.without(*(stage for stage in UPSAMPLERS if stage in model.configs))
    classifier = load_attributes(args.classifier)
    size = model.configs["decoder"].image_size
    lines, results, rows, labels = [GenerationScores.markdown_header()], [], [], []
    for combination in args.combinations:
        prompts = draw_prompts(args.count, combination)
        renders = to_float(np.stack([render(prompt.face, size) for prompt in prompts]))
        rows.append(renders[:SHOWN])
        labels.append(f"{combination}: render")
        settings = itertools.product(args.priors or [None], args.candidates, args.guidance)
        for prior, candidates, guidance in settings:
            made = _generated(args, model, prompts, prior, candidates, guidance)
            scores = score_generation(prompts, made, classifier, renders)
            what = f"{prior or 'prior'}, {candidates} drawn, guidance {guidance:g}"
            lines.append(scores.to_markdown(f"{combination}: {what}"))
            setting = {"combination": combination, "prior": prior, "candidates": candidates}
            results.append(setting | {"guidance": guidance} | dataclasses.asdict(scores))
            rows.append(made[:SHOWN])
            labels.append(what)
    _write(args.out, results, "\n".join(lines) + "\n", show(rows, rows=labels))


def _generated(
    args: argparse.Namespace,
    model: UnClip,
    prompts: Sequence[Prompt],
    prior: str | None,
    candidates: int,
    guidance: float,
) -> np.ndarray:
    """A small picture for each prompt, in batches of one shape."""
    texts = [prompt.text for prompt in prompts]
    keys = picture_keys(jax.random.key(args.seed), jnp.arange(len(texts)))
    parts = []
    for start in tqdm(range(0, len(texts), args.batch_size), unit="batch"):
        chosen = np.arange(start, start + args.batch_size).clip(max=len(texts) - 1)
        made = model.generate(
            [texts[i] for i in chosen], key=keys[chosen], guidance=guidance, steps=args.steps,
            prior=prior, prior_guidance=args.prior_guidance, candidates=candidates,
        )  # fmt: skip
        parts.append(np.asarray(made))
    return np.concatenate(parts)[: len(texts)]


def _batches(images: np.ndarray, size: int) -> Iterable[np.ndarray]:
    """Batches of one shape, so that one program serves them all; the last is filled up."""
    filled = np.concatenate([images, np.repeat(images[-1:], -len(images) % size, axis=0)])
    parts = filled.reshape(-1, size, *images.shape[1:])
    return tqdm(parts, unit="batch")


def _write(out: Path, scores: object, table: str, grid: Grid) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "scores.json", (json.dumps(scores, indent=2) + "\n").encode())
    write_whole(out / "scores.md", table.encode())
    grid.save(str(out / "grid.png"))
    print(table, end="")
