"""Bars are on terminals, lines of the logger elsewhere, and whoever listens hears of every step."""

import io
import logging
import sys
import time

import jax
import jax.numpy as jnp
import pytest

from clipdiff_jax.core import progress
from clipdiff_jax.core.log import console
from clipdiff_jax.core.progress import bar, compiling, duration, is_traced, listening, showing


class Terminal(io.StringIO):
    def isatty(self):
        return True


def on_terminal(monkeypatch):
    """A terminal in place of standard error, on which nothing waits to be shown.

    No fixture: pytest puts its own standard error back after those.
    """
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "DELAY", 0)
    return shown


def walk(count=4):
    for _ in bar(range(count), "drawing", unit="step"):
        time.sleep(0.15)  # tqdm redraws ten times a second


def test_the_library_writes_nothing_where_there_is_no_terminal(capfd, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(progress, "EVERY", 0)
    walk(2)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_has_a_bar_that_can_be_silenced(monkeypatch):
    terminal = on_terminal(monkeypatch)
    walk()
    assert "drawing" in terminal.getvalue()
    assert "3/4" in terminal.getvalue()
    before = len(terminal.getvalue())
    with showing(False):
        walk(2)
    with console(quiet=True):
        walk(2)
    assert len(terminal.getvalue()) == before


def test_a_bar_that_is_asked_for_needs_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    with showing(True), showing(None):
        walk(2)
    assert "drawing" in capsys.readouterr().err


def test_elsewhere_commands_say_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0)
    with console():
        walk(3)
        with showing(False):
            walk(3)
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["drawing: 1 of 3, 0 s left", "drawing: 2 of 3, 0 s left", "drawing: 3 of 3"]


def test_listeners_hear_of_every_step_shown_or_not():
    heard = []
    with showing(False), listening(heard.append):
        walk(2)
    assert heard == [("drawing", 1, 2), ("drawing", 2, 2)]
    walk(1)
    assert len(heard) == 2


def test_of_several_processes_the_first_speaks(monkeypatch):
    terminal = on_terminal(monkeypatch)
    monkeypatch.setattr(progress, "_is_first", lambda: False)
    walk(2)
    with console(), compiling("a program", now=True):
        time.sleep(0.1)
    assert terminal.getvalue() == ""


def _stop_at_two(now):
    if now.done == 2:
        raise KeyboardInterrupt


def test_a_bar_ends_with_what_ends_its_loop(monkeypatch):
    on_terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), listening(_stop_at_two):
        walk()
    assert not progress.tqdm._instances


def test_compiling_is_said_of_what_is_traced_alone(capsys, monkeypatch):
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(progress, "announce_devices", lambda: None)

    @jax.jit
    def double(x):
        is_traced()
        time.sleep(0.05)
        return 2 * x

    with console():
        for _ in range(2):
            with compiling("the doubling"):
                double(jnp.ones(3))
    assert capsys.readouterr().err.splitlines() == [
        "compiling the doubling (once)", "compiled the doubling in 0 s",
    ]  # fmt: skip


def test_compiling_is_a_live_line_on_a_terminal(monkeypatch):
    terminal = on_terminal(monkeypatch)
    logger = logging.getLogger("clipdiff_jax")
    assert not logger.isEnabledFor(logging.INFO)
    with compiling("a program", now=True):
        time.sleep(0.7)
    assert "compiling a program (once) 00:00" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.6, "4 s"), (60, "1 min"), (200, "3 min 20 s"), (7200, "2 h"), (7500, "2 h 5 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


def test_progress_is_true_false_or_none():
    with pytest.raises((ValueError, TypeError), match="progress"):
        progress.watched(lambda: None)(progress="no")
