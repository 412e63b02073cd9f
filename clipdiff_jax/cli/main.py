"""The command `clipdiff`: a name, and the module that is behind it."""

import importlib
import sys
from collections.abc import Sequence

from clipdiff_jax.core.config import nearest

COMMANDS = {
    "train": "clipdiff_jax.cli.train",
    "sample": "clipdiff_jax.cli.sample",
    "evaluate": "clipdiff_jax.cli.evaluate.command",
    "convert": "clipdiff_jax.cli.convert",
    "embed": "clipdiff_jax.clip.embed",
    "data": "clipdiff_jax.cli.data",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that is named first and returns its exit status; 2 for another name."""
    name, *rest = sys.argv[1:] if argv is None else argv
    if name not in COMMANDS:
        print(f"error: no command '{name}'.{nearest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return int(importlib.import_module(COMMANDS[name]).main(rest))
