"""Being told to end: SIGTERM and SIGHUP stop a command as Ctrl-C does, with a line and a status.

What a command has written by then is whole: every file is, and every picture has its line in the
manifest. The trainer, which has a state to save first, asks its own question
(`training.termination`).
"""

import signal
from contextlib import AbstractContextManager
from types import FrameType
from typing import ClassVar

from clipdiff_jax.core.signals import handled

SIGNALS = (signal.SIGTERM, signal.SIGHUP)


class Told(KeyboardInterrupt):
    """A process is told to end. `status` is what it then exits with."""

    status: ClassVar[int]


class Terminated(Told):
    """By SIGTERM, as schedulers and `kill` send it."""

    status = 128 + signal.SIGTERM


class HungUp(Told):
    """By SIGHUP, as of a terminal that is closed."""

    status = 128 + signal.SIGHUP


def stoppable() -> AbstractContextManager[None]:
    """Within, the two signals raise, see `core.signals.handled`."""
    return handled(SIGNALS, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    raise Terminated if number == signal.SIGTERM else HungUp
