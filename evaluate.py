"""Measures edits and models: `python evaluate.py counterfactual --edit runs/smile ...`.

The same as `clipdiff evaluate`.
"""

from clipdiff_jax.cli.main import evaluate as main

if __name__ == "__main__":
    raise SystemExit(main())
