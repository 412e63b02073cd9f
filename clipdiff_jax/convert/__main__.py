"""`python -m clipdiff_jax.convert SRC DST --to ours|diffusers|transformers`.

Everything is in `clipdiff_jax.convert_command`; this file is the command.
"""

from clipdiff_jax.convert_command import main

if __name__ == "__main__":
    raise SystemExit(main())
