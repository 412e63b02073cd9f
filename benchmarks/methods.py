"""Ways of learning an edit, side by side on one budget, judged by true counterfactuals.

    python benchmarks/methods.py --edits smile glasses red_hair \\
        --methods unrolled single_step noised h_space published --seeds 3 --images 16 --steps 24 \\
        --faces 40 --out OUT

Every method may evaluate the network with gradients as often as `--steps` unrolled steps of the
edit's preset do, for one picture after another: methods whose updates cost less make more of them.
A seed decides which pictures are learned from, their order, and all that is random. An edit is
applied to the same held-out faces whatever the method, at the t0 it was learned with; faces and
pictures are inverted once for all rows that want the same. A row that is done (`OUT/rows`) is not
done again, so that a run can be stopped and gone on with, or more rows asked for; `OUT/scores.md`
has the means and standard deviations over seeds of all rows so far. `--strengths` applies what was
learned more or less strongly, so that a timid method can be judged where it changes as much.

Methods: the four modes of `EditObjective`; with the suffix `-no_noise` without the noise loss (that
of an edit in h-space has none); `unrolled-auto_t0`, at the t0 that `edit.t0` finds in the
seed's own pictures; `unrolled-lora`, which learns changes of low rank beside the model;
`published`, the recipe DiffusionCLIP was released with (`edit.presets.published`),
`published-our_rate`, the same at the preset's learning rate and schedule, since 8e-6 was chosen for
a network 16 times as large, and `published-full`, which keeps to its own budget: 50 pictures and
250 updates, whatever `--images` and `--steps`.
"""

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax.clip.model import Clip, load_clip
from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.compilation import enable_compilation_cache
from clipdiff_jax.core.config import nearest, to_dict
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.edit.api import generate_edited
from clipdiff_jax.edit.latents import Inversion, invert_images
from clipdiff_jax.edit.model import Edit
from clipdiff_jax.edit.presets import LOW_RANK_RATE, MODE_RATES, EditPreset, preset, published
from clipdiff_jax.edit.stage import make_stage, select_images
from clipdiff_jax.edit.t0 import with_t0
from clipdiff_jax.metrics.avatars.attributes import load_attributes
from clipdiff_jax.metrics.avatars.counterfactual import (
    AttributeEdit,
    Classifier,
    Pairs,
    draw_pairs,
    score_edit,
)
from clipdiff_jax.perceptual.directional import change, text_direction
from clipdiff_jax.pictures.grid import show
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.weights.params import fingerprint

NO_NOISE, AUTO_T0, LOW_RANK = "-no_noise", "-auto_t0", "-lora"
OUR_RATE, FULL = "-our_rate", "-full"
METHODS = (*MODE_RATES, *(f"{m}{NO_NOISE}" for m in MODE_RATES if m != "h_space"))
METHODS += (f"unrolled{AUTO_T0}", f"unrolled{LOW_RANK}")
METHODS += ("published", f"published{OUR_RATE}", f"published{FULL}")
BATCH = 16
SHOWN = 8


@dataclass(frozen=True)
class Models:
    """What all rows share."""

    base: Diffusion
    clip: Clip
    classifier: Classifier


def arranged(method: str, ours: EditPreset, images: int, steps: int) -> tuple[EditPreset, int]:
    """The preset as `method` learns it from `images` pictures, and its number of steps.

    `steps` unrolled ones of `ours` are the budget. Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(
            f"unknown method {method!r}; there are {', '.join(METHODS)}.{nearest(method, METHODS)}"
        )
    mode = method.removesuffix(NO_NOISE).removesuffix(AUTO_T0).removesuffix(LOW_RANK)
    if mode in MODE_RATES:
        changes: dict[str, Any] = {"mode": mode}
        if mode == "h_space":
            changes |= {"noise": 0.0, "trainable": ""}
        if method.endswith(NO_NOISE):
            changes["noise"] = 0.0
        if method.endswith(AUTO_T0):
            changes["t0"] = None
        rate = ours.optim.learning_rate * MODE_RATES[mode]
        if method.endswith(LOW_RANK):
            changes["parameters"] = "lora"
            rate *= LOW_RANK_RATE
        objective = dataclasses.replace(ours.objective, **changes)
        optim = dataclasses.replace(ours.optim, learning_rate=rate)
        chosen = dataclasses.replace(ours, objective=objective, optim=optim, images=images)
    elif method.endswith(FULL):
        chosen = published(ours)
        return chosen, chosen.steps
    else:
        theirs = published(ours)
        optim = dataclasses.replace(theirs.optim, pass_updates=images)
        if method.endswith(OUR_RATE):
            optim = ours.optim
        chosen = dataclasses.replace(theirs, optim=optim, images=images)
    evaluations = steps * ours.batch_size * ours.objective.train_steps
    return chosen, max(1, round(evaluations / (chosen.batch_size * chosen.objective.evaluations)))


def measure(
    models: Models,
    chosen: EditPreset,
    steps: int,
    pictures: np.ndarray,
    pairs: Pairs,
    grid: int,
    strengths: Sequence[float],
    seed: int,
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Learns the edit and applies it: scores and costs at each strength, the faces at the first."""
    base, clip = models.base, models.clip
    objective = with_t0(chosen.objective, base, clip, pictures)
    t0 = objective.known_t0
    invert_images(base, pictures, Inversion(t0, objective.invert_steps), progress=False)
    wall, cpu = time.perf_counter(), time.process_time()
    stage = make_stage(objective, base, clip, pictures, progress=False)
    config = TrainConfig(
        steps=steps,
        batch_size=chosen.batch_size,
        seed=seed,
        log_every=steps,
        optim=chosen.optim,
    )
    state = fit(stage, config, progress=True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    learned = Edit(base.config, state.params, objective, fingerprint(base.params))

    inversion = Inversion(t0, grid)
    latents = invert_images(base, pairs.originals, inversion, batch_size=BATCH, progress=False)
    wanted = AttributeEdit(chosen.attribute, chosen.target, chosen.sources)
    texts = objective.away_from, objective.target_text
    direction = text_direction(clip.embed_texts, *texts, objective.templates)
    costs = {
        "seconds": wall,
        "cpu_seconds": cpu,
        "updates": steps * stage.rounds,
        "evaluations": steps * chosen.batch_size * objective.evaluations,
        "t0": t0,
    }

    def apply(strength: float) -> np.ndarray:
        parts = [
            generate_edited(part, base, learned, strength, t0=t0, steps=grid, key=seed)[:count]
            for part, count in filled_batches(latents, min(BATCH, len(latents)))
        ]
        return np.concatenate(parts)

    def judge(edited: np.ndarray) -> dict[str, Any]:
        scores = dataclasses.asdict(score_edit(wanted, pairs, edited, models.classifier))
        images = jnp.asarray(edited), jnp.asarray(pairs.originals)
        moved = change(clip.embed_images, direction, *images)
        return scores | {"s_dir": float(moved.cosine.mean())}

    edited = [apply(strength) for strength in strengths]
    judged = map(judge, edited)
    found = [{"strength": s} | scores | costs for s, scores in zip(strengths, judged, strict=True)]
    return found, edited[0]


def training_pictures(
    ours: EditPreset, seed: int, seeds: int, images: int, size: int
) -> np.ndarray:
    """The pictures of a seed; no two seeds share one. About one face in ten is fit for an edit."""
    source = open_avatars(AvatarsData(size=size, count=40 * images * seeds))
    return select_images(source, (seed + 1) * images, ours.only, size)[-images:]


COLUMNS = {
    "success": "{:.1%}",
    "kept": "{:.1%}",
    "inside": "{:.1f}",
    "outside": "{:.1f}",
    "s_dir": "{:.2f}",
    "seconds": "{:.0f}",
    "cpu_seconds": "{:.0f}",
}


def summary(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each edit and method, mean ± standard deviation over seeds, and a line
    for each method over all edits (the mean over edits of their means; spread over seeds)."""
    lines = [
        "| edit | method | strength | seeds | success | others kept | PSNR inside | PSNR outside "
        "| S_dir | seconds | CPU seconds |\n|---|---|---|---|---|---|---|---|---|---|---|"
    ]
    edits = list(dict.fromkeys(row["preset"] for row in rows))
    methods = list(dict.fromkeys((row["method"], row["strength"]) for row in rows))
    for edit, (method, strength) in itertools.product(edits, methods):
        wanted = (edit, method, strength)
        seeds = [r for r in rows if (r["preset"], r["method"], r["strength"]) == wanted]
        if seeds:
            lines.append(_line(*wanted, seeds))
    if len(edits) > 1:
        for method, strength in methods:
            by_seed: dict[int, list[dict[str, Any]]] = {}
            for row in rows:
                if (row["method"], row["strength"]) == (method, strength):
                    by_seed.setdefault(row["seed"], []).append(row)
            whole = [
                {name: float(np.mean([row[name] for row in seed])) for name in COLUMNS}
                for seed in by_seed.values()
                if len(seed) == len(edits)
            ]
            if whole:
                lines.append(_line("all", method, strength, whole))
    return "\n".join(lines) + "\n"


def _line(edit: str, method: str, strength: float, rows: list[dict[str, Any]]) -> str:
    cells = []
    for name, form in COLUMNS.items():
        values = np.array([row[name] for row in rows], float)
        spread = f" ± {form.format(values.std(ddof=1))}" if len(values) > 1 else ""
        cells.append(form.format(values.mean()) + spread)
    return f"| {edit} | {method} | {strength:g} | {len(rows)} | {' | '.join(cells)} |"


def run(args: argparse.Namespace, models: Models) -> list[dict[str, Any]]:
    """All rows asked for, those found on disk among them."""
    size = models.base.config.image_size
    todo = list(itertools.product(args.edits, range(args.seeds), args.methods))
    for method in args.methods:
        arranged(method, preset(args.edits[0]), args.images, args.steps)  # a typo shows at once
    hashes = {"base": fingerprint(models.base.params), "clip": fingerprint(models.clip.params)}
    faces: dict[str, Pairs] = {}
    for name, seed, method in tqdm(todo, unit="row", disable=not args.progress):
        ours = preset(name)
        ours = dataclasses.replace(ours, objective=_overridden(ours, args))
        chosen, steps = arranged(method, ours, args.images, args.steps)
        optim = dataclasses.replace(
            chosen.optim, learning_rate=args.rate * chosen.optim.learning_rate
        )
        chosen = dataclasses.replace(chosen, optim=optim)
        settings = {
            "preset": name, "method": method, "seed": seed, "steps": steps, "faces": args.faces,
            "grid": args.grid, "images": chosen.images, "strengths": list(args.strengths),
            "batch_size": chosen.batch_size,
            **hashes,
            "objective": to_dict(chosen.objective), "optim": to_dict(chosen.optim),
        }  # fmt: skip
        path = args.out / "rows" / f"{name}-{method}-{seed}.json"
        if path.is_file() and json.loads(path.read_text())["settings"] == settings:
            continue
        if name not in faces:
            wanted = AttributeEdit(ours.attribute, ours.target, ours.sources)
            faces[name] = draw_pairs(wanted, args.faces, size)
        pictures = training_pictures(ours, seed, args.seeds, chosen.images, size)
        scores, edited = measure(
            models, chosen, steps, pictures, faces[name], args.grid, args.strengths, seed
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path.with_suffix(".npy"), edited[:SHOWN])
        row = {"preset": name, "method": method, "seed": seed, "at": scores, "settings": settings}
        write_whole(path, (json.dumps(row, indent=2) + "\n").encode())
        write(args)
        draw(args, name, faces[name])
    return write(args)


def draw(args: argparse.Namespace, name: str, pairs: Pairs) -> None:
    """The first faces of an edit, as each method of the first seed makes them, and the truth."""
    files = {method: args.out / "rows" / f"{name}-{method}-0.npy" for method in args.methods}
    shown = {method: np.load(file) for method, file in files.items() if file.is_file()}
    rows = [pairs.originals[:SHOWN], *shown.values(), pairs.truths[:SHOWN]]
    show(rows, rows=["face", *shown, "truth"]).save(str(args.out / f"{name}.png"))


def _overridden(ours: EditPreset, args: argparse.Namespace) -> Any:
    """The preset's objective with fewer steps where the command line says so."""
    changes = {
        name: value
        for name in ("train_steps", "invert_steps")
        if (value := getattr(args, name)) is not None
    }
    return dataclasses.replace(ours.objective, **changes)


def write(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows so far, in the order asked for, to `scores.json` and `scores.md`."""
    rows = []
    for name, method, seed in itertools.product(args.edits, args.methods, range(args.seeds)):
        path = args.out / "rows" / f"{name}-{method}-{seed}.json"
        if path.is_file():
            row = json.loads(path.read_text())
            rows += [row | scores for scores in row.pop("at")]
    write_whole(args.out / "scores.json", (json.dumps(rows, indent=2) + "\n").encode())
    write_whole(args.out / "scores.md", summary(rows).encode())
    return rows


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--edits", nargs="+", default=["smile", "glasses", "red_hair"])
    options.add_argument(
        "--methods", nargs="+", help=f"of {', '.join(METHODS)}",
        default=["unrolled", "single_step", "noised", "h_space", "published"],
    )  # fmt: skip
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--images", type=int, default=16, help="pictures to learn from")
    options.add_argument("--steps", type=int, default=24, help="unrolled steps that are the budget")
    options.add_argument("--faces", type=int, default=40, help="held-out faces that judge")
    options.add_argument("--grid", type=int, default=20, help="times of inversion and generation")
    options.add_argument("--rate", type=float, default=1.0, help="times each learning rate")
    options.add_argument("--strengths", nargs="+", type=float, default=[1.0])
    options.add_argument("--train-steps", type=int, help="of generation in training (as preset)")
    options.add_argument("--invert-steps", type=int, help="of inversion in training (as preset)")
    options.add_argument("--model", default="demo")
    options.add_argument("--clip", default="demo")
    options.add_argument("--classifier", default="demo")
    options.add_argument("--out", type=Path, required=True)
    options.set_defaults(progress=True)
    return options


def main() -> None:
    args = parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    enable_compilation_cache()
    models = Models(
        load_diffusion(args.model), load_clip(args.clip), load_attributes(args.classifier)
    )
    run(args, models)
    print(args.out.joinpath("scores.md").read_text(), end="")


if __name__ == "__main__":
    main()
