"""How programs are compiled: kept on disk, and with loops where loops are quick."""

from pathlib import Path

import jax

from clipdiff_jax.data.avatars import cache_dir


def enable_compilation_cache() -> Path | None:
    """Turns jax's persistent compilation cache on, unless the user has chosen one.

    The folder is `$JAX_COMPILATION_CACHE_DIR` if set, else `xla/` in the library's cache folder.
    Returns the folder in use.
    """
    chosen = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    folder = Path(chosen) if chosen else cache_dir() / "xla"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
    return folder


def loops_are_slow() -> bool:
    """Whether a loop over network gradients should be laid out instead.

    XLA's CPU compiler gives convolutions inside of loops a slow kernel: the gradient of three
    sampling steps of the demo's UNet takes 8 times as long as a loop (`benchmarks/loops.py`).
    """
    return jax.default_backend() == "cpu"
