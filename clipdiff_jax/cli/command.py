"""How the commands of this library end: an exit status, and one line for a mistake."""

import argparse
import sys

from clipdiff_jax.core.compilation import enable_compilation_cache
from clipdiff_jax.core.log import console


def run_command(args: argparse.Namespace) -> int:
    """Calls `args.run(args)` and returns the exit status: 0, or 2 with one line on standard error
    for whatever the user can put right."""
    enable_compilation_cache()
    try:
        with console():
            args.run(args)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
