"""Trains any stage: `python train.py --config configs/X.py --workdir DIR [--config.key=value ...]`.

Everything is in `clipdiff_jax.cli.train`; this file is the command.
"""

from clipdiff_jax.cli.train import main

if __name__ == "__main__":
    raise SystemExit(main())
