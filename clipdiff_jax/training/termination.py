"""SIGTERM as a question the loop asks after each step, so that a run told to go saves first."""

import signal
import threading
from typing import Any

import jax


class Termination:
    """Within the `with` block SIGTERM is noted, and does nothing else.

    With several hosts they all give the same answer (jax's preemption sync point).
    """

    def __init__(self) -> None:
        self._flag = threading.Event()
        self._previous: Any = None

    def __enter__(self) -> "Termination":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, lambda *_: self._flag.set())
        return self

    def __exit__(self, *_: Any) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def requested(self, step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._flag.is_set()
