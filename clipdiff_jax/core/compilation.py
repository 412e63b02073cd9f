"""How programs are compiled: kept on disk, and with loops where loops are quick."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from clipdiff_jax.core.files import cache_dir


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


def jit_once(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit` for what runs once, such as drawing parameters: little time goes into compiling.

    XLA's CPU compiler takes seconds for each random number generator that it optimises, and
    parameters are drawn by hundreds.
    """
    if jax.default_backend() == "cpu":
        options["compiler_options"] = {"xla_backend_optimization_level": 0}
    return jax.jit(function, **options)


def loops_are_slow() -> bool:
    """Whether a loop over network gradients should be laid out instead.

    XLA's CPU compiler gives convolutions inside of loops a slow kernel: the gradient of three
    sampling steps of the demo's UNet takes 8 times as long as a loop (`benchmarks/loops.py`).
    """
    return jax.default_backend() == "cpu"
