"""How programs are compiled: for which devices, and kept on disk.

What a program should be depends on the devices that it is compiled for, which are not always those
of this machine: `compiling_for` says so, and whatever chooses between kernels asks `target`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, get_args

import jax

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import cache_dir

Platform = Literal["cpu", "gpu", "tpu"]
_TARGET: ContextVar[Platform | None] = ContextVar("target", default=None)


def target() -> Platform:
    """The platform that is compiled for: that of `compiling_for`, else the default backend's."""
    chosen = _TARGET.get()
    return jax.default_backend() if chosen is None else chosen  # type: ignore[return-value]


@contextmanager
def compiling_for(platform: Platform) -> Iterator[None]:
    """Within the `with` block programs are traced for another platform than this machine's.

    For lowering and compiling ahead of time; what is traced inside is not kept for outside. Raises
    `ValueError` for an unknown platform.
    """
    if platform not in get_args(Platform):
        raise ValueError(
            f"platform must be one of {', '.join(get_args(Platform))}, got {platform!r}."
            f"{nearest(str(platform), get_args(Platform))}"
        )
    token = _TARGET.set(platform)
    jax.clear_caches()  # a function traced for one platform is not traced again for the next
    try:
        yield
    finally:
        _TARGET.reset(token)
        jax.clear_caches()


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
    if target() == "cpu":
        options["compiler_options"] = {"xla_backend_optimization_level": 0}
    return jax.jit(function, **options)
