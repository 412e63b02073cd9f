"""Trains the demo's models within a time, shows what they draw, and packs them into the package.

    python benchmarks/train_demo.py train base --minutes 9 --batch-size 128 --out runs/demo
    python benchmarks/train_demo.py train base latent --minutes 9 --out runs/demo    # goes on
    python benchmarks/train_demo.py pack base --out runs/demo

For each model a few steps measure the speed; then the recipe runs for as many as fit into the
minutes, its learning rate falling over the last quarter. The plan is kept beside the run, so that a
run that was stopped, by whatever, goes on when the same command is given again. Models stand on
each other in the order of `MODELS`: one that was trained here takes the place of the package's.

`pack` copies exported models over those of the package, which `git` knows; it refuses more than
60 MB in all. On a GPU give a large `--batch-size`, and `--dtype bfloat16`.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "clipdiff_jax" / "assets"
MOST_MB = 60
PROBE = 40  # steps that measure the speed
SHARE = 0.9  # of the minutes that steps may take; the rest is compiling, sampling, exports


@dataclass(frozen=True)
class Model:
    """A model of the demo.

    Attributes:
      recipe: what trains it.
      on: fields of its stage that name other models, by what is trained here: "stage.clip": "clip".
      embeddings: the field that names embeddings of the data, made with the CLIP at hand.
      asset: its folder in the package; None for what is part of another model.
      batch_size: of the recipe.
    """

    recipe: str
    batch_size: int
    on: dict[str, str] = field(default_factory=dict)
    embeddings: str | None = None
    asset: str | None = None


MODELS = {
    "base": Model("avatars/base", 16, asset="base"),
    "clip": Model("avatars/clip", 12, asset="clip"),
    "autoencoder": Model("avatars/autoencoder", 16),
    "latent": Model(
        "avatars/latent", 32, {"stage.autoencoder": "autoencoder", "stage.clip": "clip"},
        asset="latent",
    ),
    "decoder": Model(
        "unclip/avatars/decoder", 16, {"stage.start_base": "base", "stage.clip": "clip"},
        "stage.embeddings", "decoder",
    ),
    "upsampler": Model("unclip/avatars/upsampler", 16, asset="upsampler"),
    "prior": Model("unclip/avatars/prior", 64, {"stage.clip": "clip"}, "stage.data.path", "prior"),
    "direct_prior": Model(
        "unclip/avatars/direct_prior", 64, {"stage.clip": "clip"}, "stage.data.path", "direct_prior"
    ),
    "reassembly": Model("avatars/puzzle_4", 32, asset="reassembly"),
    "ar_prior": Model(
        "unclip/avatars/ar_prior", 64, {"stage.clip": "clip"}, "stage.data.path", "ar_prior"
    ),
}  # fmt: skip
FALLING = ("base", "autoencoder", "latent", "reassembly")  # constant rates that cool down


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("train", train), ("pack", pack)):
        command = commands.add_parser(name)
        command.add_argument("models", nargs="+", choices=tuple(MODELS))
        command.add_argument("--out", type=Path, default=Path("runs/demo"), help="where runs are")
        command.set_defaults(run=run)
        if name == "train":
            command.add_argument("--minutes", type=float, required=True, help="for each model")
            command.add_argument("--batch-size", type=int, help="the recipe's if not given")
            command.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
            command.add_argument("--probe", type=int, default=PROBE, help="steps for the speed")
    args = parser.parse_args()
    args.run(args)


def train(args: argparse.Namespace) -> None:
    """Trains and shows each of the models."""
    for name in args.models:
        model, folder = MODELS[name], args.out / name
        overrides = [f"--config.stage.dtype={args.dtype}"]
        if args.batch_size:
            overrides.append(f"--config.train.batch_size={args.batch_size}")
        for place, other in model.on.items():
            if (args.out / other / "model").is_dir():
                overrides.append(f"--config.{place}={args.out / other}")
        if model.embeddings:
            overrides.append(f"--config.{model.embeddings}={embeddings(args.out)}")
        if name == "latent":
            overrides.append(f"--config.stage.latents={args.out / 'latents'}")
        steps = planned(folder, model, args, overrides)
        overrides.append(f"--config.train.steps={steps}")
        if name in FALLING:
            overrides.append(f"--config.train.optim.cooldown={steps // 4}")
        clipdiff("train", "--config", model.recipe, "--workdir", folder, *overrides)
        show(name, args.out)


def planned(folder: Path, model: Model, args: argparse.Namespace, overrides: list[str]) -> int:
    """The steps that fit into the minutes, measured where that was not yet done."""
    plan, batch = folder / "plan.json", args.batch_size or model.batch_size
    if plan.is_file():
        return json.loads(plan.read_text())["steps"]
    probe = args.out / f"{folder.name}-probe"
    shutil.rmtree(probe, ignore_errors=True)
    clipdiff(
        "train", "--config", model.recipe, "--workdir", probe, *overrides,
        f"--config.train.steps={args.probe}", f"--config.train.log_every={args.probe // 2}",
        "--config.train.optim.warmup=1", "--config.train.optim.cooldown=0",
    )  # fmt: skip
    lines = [json.loads(line) for line in (probe / "log.jsonl").read_text().splitlines()]
    rate = [line["examples_per_s"] for line in lines if "examples_per_s" in line][-1]
    steps = int(SHARE * args.minutes * 60 * rate / batch)
    print(f"{folder.name}: {rate:.0f} examples/s, {steps} steps of {batch}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps({"steps": steps, "batch_size": batch, "examples_per_s": rate}))
    shutil.rmtree(probe)
    return steps


def embeddings(out: Path) -> Path:
    """Embeddings of the data by the CLIP that was trained here, else by the package's."""
    folder = out / "embeddings"
    if not folder.is_dir():
        clip = out / "clip" if (out / "clip" / "model").is_dir() else "demo"
        clipdiff(
            "embed", "--config", "unclip/avatars/embed", "--out", folder, f"--config.clip={clip}"
        )
    return folder


def show(name: str, out: Path) -> None:
    """What a model draws, beside its run."""
    pictures = out / f"{name}-pictures"
    words = ["generate", "--model", out / name, "--out", pictures, "--overwrite"]
    if name == "base":
        clipdiff(*words, "--count", 64, "--steps", 50)
        clipdiff("evaluate", "grain", pictures, "--out", out / f"{name}-grain")
    elif name == "reassembly":
        clipdiff("evaluate", "reassembly", "--model", out / name, "--out", out / f"{name}-scores")
    elif name == "latent":
        clipdiff(*words, "--count", 4, "--prompt", "a smiling person with glasses and red hair")


def pack(args: argparse.Namespace) -> None:
    """Copies exported models into the package, if all of it stays below `MOST_MB`."""
    chosen = {
        MODELS[name].asset: args.out / name / "model" for name in args.models if MODELS[name].asset
    }
    size = sum(megabytes(one) for one in ASSETS.iterdir() if one.name not in chosen)
    size += sum(megabytes(folder) for folder in chosen.values())
    if size > MOST_MB:
        raise SystemExit(f"{size:.1f} MB in all, expected at most {MOST_MB}")
    for asset, folder in chosen.items():
        target = ASSETS / asset
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)
        print(f"{target}: {megabytes(target):.1f} MB")
    print(f"{size:.1f} MB in all")


def megabytes(folder: Path) -> float:
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()) / 1e6


def clipdiff(*words: object) -> None:
    """Runs a command of ours, in a process of its own so that its memory is free afterwards."""
    started = time.time()
    line = [sys.executable, "-c", "import sys; from clipdiff_jax.cli.main import main; "
            "sys.exit(main())", *map(str, words)]  # fmt: skip
    print("clipdiff", *words, flush=True)
    subprocess.run(line, check=True)
    print(f"  {time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
