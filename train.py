"""Trains any stage: `python train.py --config avatars/base --workdir DIR [--config.key=value]`.

The same as `clipdiff train`.
"""

from clipdiff_jax.cli.main import train as main

if __name__ == "__main__":
    raise SystemExit(main())
