"""Signals that a process is told to end by, within a block of code."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], None]


@contextmanager
def handled(signals: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """Within, these signals call the handler; afterwards they do what they did.

    One that is ignored stays so, as `nohup` has it. In a thread other than the main one, which may
    not handle any, nothing changes.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for one in signals:
            if signal.getsignal(one) is not signal.SIG_IGN:
                before[one] = signal.signal(one, handler) or signal.SIG_DFL
    try:
        yield
    finally:
        for one, earlier in before.items():
            signal.signal(one, earlier)
