"""A signal to end as a question the loop asks after each step: a run told to go saves first.

SIGTERM comes from schedulers and `kill`, SIGHUP from a terminal that is closed, SIGINT from Ctrl-C.
"""

import signal
from typing import Any

import jax

from clipdiff_jax.core.signals import handled


class Termination:
    """Within the `with` block these signals are noted, and do nothing else.

    saves: whether there is somewhere to save to. Where there is not, only SIGTERM is noted, and
    Ctrl-C stops at once. With several hosts they all give the same answer (jax's preemption sync
    point).
    """

    def __init__(self, saves: bool = True) -> None:
        signals = [signal.SIGTERM, *([signal.SIGINT, signal.SIGHUP] if saves else [])]
        self._first: signal.Signals | None = None
        self._handled = handled(signals, self._note)

    def __enter__(self) -> "Termination":
        self._handled.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handled.__exit__(*error)

    def requested(self, step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._first is not None

    @property
    def signal(self) -> signal.Signals:
        """What came first; SIGTERM where another host was told."""
        return self._first or signal.SIGTERM

    def _note(self, number: int, frame: Any) -> None:
        del frame
        self._first = self._first or signal.Signals(number)
