"""`python -m clipdiff_jax` is `clipdiff`."""

from clipdiff_jax.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
