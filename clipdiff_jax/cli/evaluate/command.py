"""The command behind `evaluate.py`: what an edit or a model is worth, in numbers and a picture.

    python evaluate.py counterfactual --edit runs/smile --attribute mouth --target smile \\
        --sources serious --count 200 --out runs/smile/scores
    python evaluate.py reconstruction --model demo --t0 300 500 --steps 20 40 \\
        --methods ddim fixed_point edict --out runs/reconstruction
    python evaluate.py generation --model demo --guidance 1 2 4 --out runs/generation
    python evaluate.py images runs/generated --reference faces --out runs/generated/scores
    python evaluate.py pairs runs/smile/edited --reference faces --out runs/smile/pairs
    python evaluate.py texts runs/generated --model demo --out runs/generated/texts

Each writes `scores.json`, `scores.md` and `grid.png` into its folder, and prints the table. Every
subcommand is a module of `evaluating/`; here is the parser.
"""

import argparse
from collections.abc import Sequence

from clipdiff_jax.cli.command import run_command
from clipdiff_jax.cli.evaluate import (
    counterfactual,
    generation,
    images,
    pairs,
    reconstruction,
    texts,
)

SUBCOMMANDS = (counterfactual, reconstruction, generation, images, pairs, texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status, see `run_command`."""
    return run_command(_parser().parse_args(argv))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="evaluate.py", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        subcommand.add(commands)
    return parser
