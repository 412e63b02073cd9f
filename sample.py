"""Makes pictures: `python sample.py edit IMAGES --edit RUN`, `generate`, `remake` and more.

`sample.py edit` is the same as `clipdiff edit`.
"""

from clipdiff_jax.cli.main import sample as main

if __name__ == "__main__":
    raise SystemExit(main())
