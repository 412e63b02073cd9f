"""Measures edits and reconstructions: `python evaluate.py counterfactual --edit runs/smile ...`.

Everything is in `clipdiff_jax.evaluate_command`; this file is the command.
"""

from clipdiff_jax.evaluate_command import main

if __name__ == "__main__":
    raise SystemExit(main())
