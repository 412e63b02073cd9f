"""How far something is: one bar for whatever takes long, and who looks at it.

    for batch in bar(batches, "embedding", unit="batch"):
        ...

A bar is on standard error: on a terminal and in a notebook that has widgets, unless it is silenced
(`showing(False)`, `progress=False` of a call). Elsewhere nothing is written but a line of the
logger every half a minute, which the commands show. Of several processes only the first speaks.
Whoever wants the numbers themselves listens (`listening`).
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypedDict, TypeVar

import jax
from tqdm.auto import tqdm

from clipdiff_jax.core.checks import Number
from clipdiff_jax.core.devices import announce_devices

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type[Any])
DELAY = 1.0  # seconds that may pass before anything is shown
EVERY = 30.0  # seconds between lines where there is no bar
logger = logging.getLogger(__name__)


class Progress(NamedTuple):
    """How much of what is done; `total` is None where nobody knows."""

    what: str
    done: int
    total: int | None


class Watched(TypedDict, total=False):
    """The keyword of calls that take long."""

    progress: bool | None


Listener = Callable[[Progress], object]
_SHOWN: ContextVar[bool | None] = ContextVar("shown", default=None)
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)
_COMPILING: ContextVar["_Notice | None"] = ContextVar("compiling", default=None)


@contextmanager
def showing(shown: bool | None) -> Iterator[None]:
    """Within, bars are shown (True), or not (False); None leaves it as it is outside, which is to
    show them on terminals and in notebooks."""
    token = _SHOWN.set(_SHOWN.get() if shown is None else shown)
    try:
        yield
    finally:
        _SHOWN.reset(token)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Within, `listener` is told of everything that bars count, be they shown or not."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def watched(call: F) -> F:
    """Gives a call the keyword `progress`: whether it shows bars, see `showing`."""

    @functools.wraps(call)
    def shown(*args: Any, progress: bool | None = None, **options: Any) -> Any:
        if progress not in (None, True, False):
            raise ValueError(f"progress={progress!r}: expected True, False or None")
        with showing(progress):
            return call(*args, **options)

    return shown  # type: ignore[return-value]


def watched_methods(*names: str) -> Callable[[C], C]:
    """`watched` for those methods of a class."""

    def wrapped(kind: C) -> C:
        for name in names:
            setattr(kind, name, watched(getattr(kind, name)))
        return kind

    return wrapped


def is_shown() -> bool:
    """Whether bars are shown here and now."""
    if not _is_first():
        return False
    shown = _SHOWN.get()
    return _is_watched() if shown is None else shown


def is_followed() -> bool:
    """Whether anybody may come to know how far something is."""
    if not _is_first():
        return _LISTENER.get() is not None
    return (
        is_shown()
        or _LISTENER.get() is not None
        or (_SHOWN.get() is not False and logger.isEnabledFor(logging.INFO))
    )


class Bar(Generic[T]):
    """A bar; made by `bar` or `counter`."""

    def __init__(self, items: Iterable[T], bar: "tqdm[Any] | None", about: Progress) -> None:
        self._items, self._bar, self._about = items, bar, about
        self._since = self._said = time.monotonic()
        self._first = about.done
        self._telling = bar is None and _SHOWN.get() is not False and _is_first()
        self._noted = ""

    def __iter__(self) -> Iterator[T]:
        with self:
            for item in self._items:
                yield item
                self.update()

    def __enter__(self) -> "Bar[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self._about = self._about._replace(done=self._about.done + count)
        if self._bar is not None:
            self._bar.update(count)
        if (listener := _LISTENER.get()) is not None:
            listener(self._about)
        if self._telling and time.monotonic() - self._said > EVERY:
            self._said = time.monotonic()
            logger.info(self._line())

    def note(self, text: str) -> None:
        """Words behind the bar."""
        self._noted = text
        if self._bar is not None:
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

    def _line(self) -> str:
        what, done, total = self._about
        of = "" if total is None else f" of {total}"
        new = done - self._first
        left = ""
        if total is not None and new > 0 and done < total:
            seconds = (time.monotonic() - self._since) / new * (total - done)
            left = f", {duration(seconds)} left"
        noted = f", {self._noted}" if self._noted else ""
        return f"{what or 'done'}: {done}{of}{left}{noted}"


def bar(items: Iterable[T], what: str = "", *, total: int | None = None, unit: str = "") -> Bar[T]:
    """A bar over items.

    what: is being done. total: how many there are; where None, as many as `items` says. unit: what
    an item is.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    return Bar(items, _shown_bar(Progress(what, 0, total), unit), Progress(what, 0, total))


def counter(
    what: str, *, total: int | None, unit: str = "", done: int = 0, leave: bool = False
) -> Bar[Any]:
    """A bar that is told what is done by its `update`.

    what: is being done. total: how much, None where nobody knows. unit: what is counted. done: how
    much is done already. leave: whether it stays on the screen when it is over.
    """
    about = Progress(what, done, total)
    return Bar((), _shown_bar(about, unit, leave), about)


def _shown_bar(about: Progress, unit: str, leave: bool = False) -> "tqdm[Any] | None":
    """Of tqdm, where bars are shown."""
    if not is_shown():
        return None
    return tqdm(
        total=about.total, desc=about.what or None, unit=unit or "it", leave=leave,
        initial=about.done, delay=DELAY, dynamic_ncols=True, file=sys.stderr,
    )  # fmt: skip


@contextmanager
def compiling(what: str, *, now: bool = False) -> Iterator[None]:
    """Within, says "compiling WHAT (once)" and for how long, from the moment that it is compiled.

    That is at once with `now`, else when a program begins to be traced that says so (`is_traced`).
    A program that is compiled already is not traced, and nothing is said.
    """
    notice = _Notice(what)
    token = _COMPILING.set(notice)
    try:
        if now:
            notice.begin()
        yield
    finally:
        _COMPILING.reset(token)
        notice.end()


def is_traced() -> None:
    """Called by a function that is compiled, as long as it is traced."""
    notice = _COMPILING.get()
    if notice is not None:
        notice.begin()


class _Notice:
    """The line of `compiling`, from a thread of its own: whoever compiles is busy."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown = False

    def begin(self) -> None:
        if self._thread is not None or not is_followed():
            return
        announce_devices()
        self._since = time.monotonic()
        self._live = is_shown()
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        if self._thread is None:
            return
        self._thread.join()
        if self._shown:
            logger.info("compiled %s in %s", self._what, duration(time.monotonic() - self._since))

    def _tell(self) -> None:
        if self._over.wait(DELAY):
            return
        self._shown = True
        if not self._live:
            logger.info("compiling %s (once)", self._what)
            return
        line = tqdm(
            desc=f"compiling {self._what} (once)", bar_format="{desc} {elapsed}",
            leave=False, file=sys.stderr,
        )  # fmt: skip
        line.start_t -= time.monotonic() - self._since
        while not self._over.wait(0.5):
            line.refresh()
        line.close()


def duration(seconds: Number) -> str:
    """Of time in words: "4 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h" + (f" {minutes} min" if minutes else "")


def _is_watched() -> bool:
    """Whether standard error is a terminal, or this is a notebook that shows widgets."""
    if os.environ.get("TERM") != "dumb" and sys.stderr is not None and sys.stderr.isatty():
        return True
    return "ipykernel" in sys.modules and "ipywidgets" in sys.modules


def _is_first() -> bool:
    """Whether this is process 0, or the only one; initialises nothing."""
    return not jax.distributed.is_initialized() or bool(jax.process_index() == 0)
