"""Loggers: the library speaks through those named `clipdiff_jax.*` and leaves all others alone.

Nothing is shown unless whoever uses the library asks for it, as the commands do:

    with console():
        ...
"""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from tqdm import tqdm

from clipdiff_jax.core.progress import showing

LIBRARY = logging.getLogger("clipdiff_jax")


@contextmanager
def console(*, quiet: bool = False) -> Iterator[None]:
    """Within, what the library says is written to standard error, a line each, and so are Python's
    warnings; quiet: warnings and errors alone, and no bars.

    Warnings and errors begin with "warning: " or "error: ". Lines go above a bar of tqdm.
    """
    level = logging.WARNING if quiet else logging.INFO
    handler = _Console(level)
    before, propagated = LIBRARY.level, LIBRARY.propagate
    LIBRARY.addHandler(handler)
    LIBRARY.setLevel(level)
    LIBRARY.propagate = False  # a handler of the root's would write the line again
    shown = warnings.showwarning
    warnings.showwarning = lambda message, *_, **__: LIBRARY.warning("%s", message)
    try:
        with showing(False if quiet else None), _without_bars() if quiet else nullcontext():
            yield
    finally:
        warnings.showwarning = shown
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(before)
        LIBRARY.propagate = propagated


@contextmanager
def quiet_absl() -> Iterator[None]:
    """Within, absl (through which grain and orbax speak) says nothing that is not a warning, and
    orbax none of the errors that it also raises, each once for every thread of its own.

    absl gives the root logger a handler with the first thing it says, be that on import, where the
    root has none. Within it has one, and afterwards it is as it was.
    """
    absl, root = logging.getLogger("absl"), logging.getLogger()
    held = None if root.handlers else _LastResort()
    if held is not None:
        root.addHandler(held)
    absl.addFilter(_is_wanted)
    try:
        yield
    finally:
        absl.removeFilter(_is_wanted)
        if held is not None:
            root.removeHandler(held)


def _is_wanted(record: logging.LogRecord) -> bool:
    of_orbax = "orbax" in record.pathname
    return record.levelno >= logging.WARNING and not (of_orbax and record.levelno >= logging.ERROR)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Within, new bars of tqdm show nothing, whoever makes them."""
    made = tqdm.__init__

    def silent(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **{**options, "disable": True})

    tqdm.__init__ = silent
    try:
        yield
    finally:
        tqdm.__init__ = made


class _Console(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        serious = record.levelno >= logging.WARNING
        text = f"{record.levelname.lower()}: " if serious else ""
        with tqdm.external_write_mode(file=sys.stderr):
            sys.stderr.write(f"{text}{record.getMessage()}\n")
            sys.stderr.flush()


class _LastResort(logging.Handler):
    """What `logging` does where there is no handler."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
