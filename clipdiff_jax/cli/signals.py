"""Being told to end: SIGTERM and SIGHUP stop a command as Ctrl-C does, with a line and a status.

What a command has written by then is whole: every file is, and every picture has its line in the
manifest. The trainer, which has a state to save first, asks its own question
(`training.termination`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, ClassVar

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


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the two signals raise; a thread may not catch any, there they do what they did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [one for one in SIGNALS if signal.getsignal(one) is not signal.SIG_IGN]  # not nohup's
    before: dict[signal.Signals, Any] = {
        one: signal.signal(one, _stop) or signal.SIG_DFL for one in heard
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    raise Terminated if number == signal.SIGTERM else HungUp
