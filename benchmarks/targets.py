"""The table of docs/targets.md: every recipe on the accelerators, compiled and not run.

    python benchmarks/targets.py                     what is missing is compiled, one at a time
    python benchmarks/targets.py celebahq/base@h100:8 ...       these, again
    python benchmarks/targets.py --table             nothing; the table is written again

A row is written to benchmarks/results/TARGETS.json when it is done, with the commit it was made at,
and the table in docs/targets.md is made again in place. Needs the compilers (`make test-targets`).
A full-size step takes XLA:GPU some minutes and XLA:TPU up to an hour on one core.
"""

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from clipdiff_jax.cli.on_targets import ask
from clipdiff_jax.core.recipes import load_config, recipe_names
from clipdiff_jax.latent.requests import Generation
from clipdiff_jax.models.presets import PUBLISHED_LATENTS
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.targets.cost import Times
from clipdiff_jax.training.targets.names import read_target
from clipdiff_jax.training.targets.report import duration, gigabytes
from clipdiff_jax.training.targets.training import fit_mesh
from clipdiff_jax.unclip.drawing import Drawing

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "TARGETS.json"
PAGE = ROOT / "docs" / "targets.md"
BEGIN, END = "<!-- rows: python benchmarks/targets.py -->", "<!-- end of rows -->"

TARGETS = ("h100:1", "h100:8", "a100:8", "v5e:2x4", "v5p:2x2x2")
KARLO = "kakaobrain/karlo-v1-alpha"
# Sampling, by the name of its row: what `clipdiff generate` would be asked.
SAMPLING = {
    f"{KARLO}, 4 pictures": {
        "command": "generate", "model": KARLO, "dtype": "bfloat16", "batch": 4,
        "drawing": Drawing().to_dict(),
    },
} | {
    f"{model}, 1 picture": {
        "command": "generate", "model": model, "dtype": "bfloat16", "batch": 1,
        "painting": Generation(steps=30).to_dict(),
    }
    for model in PUBLISHED_LATENTS
}  # fmt: skip
VARIANTS = {
    "celebahq/edit, single_step": ("celebahq/edit", ["stage.objective.mode=single_step"]),
}
HEAD = (
    "| what | target | examples | FLOPs | memory per device | | matrix units | memory | network "
    "| least | all steps | compiled at |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n"
)


def rows() -> list[str]:
    """The names of all rows, those of one recipe together."""
    recipes = [n for n in recipe_names() if not n.endswith("embed") and "presets" not in n]
    names = sorted([*recipes, *VARIANTS]) + list(SAMPLING)
    return [f"{name}@{target}" for name in names for target in TARGETS]


def compute(row: str) -> dict[str, Any]:
    """Compiles what a row names; the numbers that are kept of it."""
    name, _, target_name = row.rpartition("@")
    target = read_target(target_name)
    if name in SAMPLING:
        reply = ask(target, SAMPLING[name])
    else:
        recipe, overrides = VARIANTS.get(name, (name, []))
        train = load_config(recipe, RunConfig, overrides).train
        mesh = fit_mesh(train, target).mesh
        more = [f"train.mesh.fsdp={mesh.fsdp}"] if mesh.fsdp != train.mesh.fsdp else []
        if train.batch_size % target.count:  # an edit learns from one picture a step
            more.append(f"train.batch_size={target.count}")
        request = {"command": "train", "config": recipe, "overrides": [*overrides, *more]}
        reply = ask(target, request) | {"overrides": more}
    del reply["text"]
    return reply


def line(row: str, found: dict[str, Any] | None) -> str:
    """A row of the table; of sampling, the sum of its programs."""
    name, _, target = row.rpartition("@")
    if found is None:
        return f"| {name} | {target} |" + " |" * 10
    if "error" in found:
        return (
            f"| {name} | {target} | | | | {found['error']} |" + " |" * 5 + f" {found['commit']} |"
        )
    parts = list(found.get("parts", {"": found}).values())
    said = [
        str(found["batch"])
        + "".join(f", {o.removeprefix('train.')}" for o in found.get("overrides", [])),
        f"{sum(part['flops'] for part in parts):.3g}",
        gigabytes(max(part["needed"] for part in parts)),
        max(parts, key=lambda part: part["needed"])["fits"],
    ]
    if all(part["times"] for part in parts):
        kinds = ("matrix", "memory", "network")
        all_parts = [Times(**part["times"]) for part in parts]
        said += [duration(sum(getattr(t, kind) for t in all_parts)) for kind in kinds]
        least = sum(t.least for t in all_parts)
        said += [duration(least), duration(least * found["steps"]) if "steps" in found else ""]
    else:
        said += [""] * 5
    return f"| {name} | {target} | {' | '.join(said)} | {found['commit']} |"


def write_table(results: dict[str, Any]) -> None:
    """The rows that there are, between the two marks of the page."""
    lines = [line(row, results[row]) for row in rows() if row in results]
    missing = [row for row in rows() if row not in results]
    table = HEAD + "\n".join(lines)
    if missing:
        table += (
            f"\n\n{len(lines)} of {len(rows())} rows have been compiled; "
            "`python benchmarks/targets.py --missing` names the others."
        )
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}")


def commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile recipes for targets; see the docstring.")
    parser.add_argument("rows", nargs="*", metavar="RECIPE@TARGET", help="compiled again")
    parser.add_argument("--table", action="store_true", help="write the table and compile nothing")
    parser.add_argument("--missing", action="store_true", help="name the rows left and stop")
    args = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    missing = [row for row in rows() if row not in results]
    if args.missing:
        print("\n".join(missing))
        return
    for row in [] if args.table else args.rows or missing:
        try:
            found = compute(row)
        except ValueError as error:
            found = {"error": str(error)}
        print(row, found.get("fits") or found.get("error") or "", flush=True)
        current = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
        current[row] = found | {"commit": commit()}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(current, indent=1, sort_keys=True) + "\n")
        results = current
    write_table(results)


if __name__ == "__main__":
    main()
