"""Other libraries' loggers stay as they are; the console shows ours while a command runs."""

import json
import logging
import subprocess
import sys

import pytest
from helpers.house import modules

from clipdiff_jax.core.log import LIBRARY, console, quiet_absl

LOOK = """
import importlib, json, logging, sys

def seen():
    import absl.logging
    loggers = (logging.getLogger(), logging.getLogger("absl"), logging.getLogger("clipdiff_jax"))
    return [[one.level, one.disabled, one.propagate, list(one.handlers), list(one.filters)]
            for one in loggers]

before = seen()
changed = []
for name in sys.argv[1:]:
    importlib.import_module(name)
    if seen() != before:
        changed.append(name)
        before = seen()
print(json.dumps(changed))
"""


def test_imports_leave_the_loggers_alone():
    names = [name for name in modules() if not name.endswith("__main__")]
    run = subprocess.run(
        [sys.executable, "-c", LOOK, *names], capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout.splitlines()[-1]) == []


def test_console_writes_our_lines_and_only_within(capsys):
    logger = logging.getLogger("clipdiff_jax.anything")
    logger.info("before")
    with console():
        logger.info("step 3")
        logger.warning("it is late")
        logger.debug("details")
        logging.getLogger("others").warning("not ours")
    logger.info("after")
    err = capsys.readouterr().err
    assert err == "step 3\nwarning: it is late\n"
    assert (LIBRARY.level, LIBRARY.handlers, LIBRARY.propagate) == (logging.NOTSET, [], True)


def test_console_ends_with_what_is_raised():
    with pytest.raises(KeyError), console():
        raise KeyError
    assert LIBRARY.handlers == []


def test_absl_says_warnings_and_gives_the_root_no_handler(monkeypatch, capsys):
    absl, root = logging.getLogger("absl"), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    with quiet_absl():
        import absl.logging as absl_logging

        absl_logging.error("something")
        absl.warning("a warning")
        absl.info("a detail")
    assert (root.handlers, absl.filters) == ([], [])
    assert capsys.readouterr().err == "something\na warning\n"
