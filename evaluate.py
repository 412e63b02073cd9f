"""Measures edits and reconstructions: `python evaluate.py counterfactual --edit runs/smile ...`.

Everything is in `clipdiff_jax.cli.evaluate.command`; this file is the command.
"""

from clipdiff_jax.cli.evaluate.command import main

if __name__ == "__main__":
    raise SystemExit(main())
