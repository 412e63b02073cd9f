"""Trains any stage: `python train.py --config configs/X.py --workdir DIR [--config.key=value ...]`.

Everything is in `clipdiff_jax.train_command`; this file is the command.
"""

from clipdiff_jax.train_command import main

if __name__ == "__main__":
    raise SystemExit(main())
