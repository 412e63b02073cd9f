"""Makes pictures: `python sample.py edit IMAGES --edit RUN --out DIR`, or `generate`, or `remake`.

Everything is in `clipdiff_jax.cli.sample`; this file is the command.
"""

from clipdiff_jax.cli.sample import main

if __name__ == "__main__":
    raise SystemExit(main())
