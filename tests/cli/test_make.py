"""A run that is stopped leaves whole pictures, a line for each, and says how it goes on."""

import os
import signal

import numpy as np
import pytest

from clipdiff_jax.cli import generate
from clipdiff_jax.cli.main import main
from clipdiff_jax.cli.make import Job, Maker, make
from clipdiff_jax.cli.signals import HungUp, Terminated, stoppable
from clipdiff_jax.pictures.records import read_records
from clipdiff_jax.pictures.results import Results

RECORDS = [{"command": "generate", "file": f"{i}.png", "index": i} for i in range(6)]
STOPS = [
    (signal.SIGINT, KeyboardInterrupt, 130),
    (signal.SIGTERM, Terminated, 143),
    (signal.SIGHUP, HungUp, 129),
]


def job(before=lambda record: None) -> Job:
    def compute(records, sources):
        before(records[0])
        return np.zeros((len(records), 4, 4, 3), np.float32)

    return Job(Maker(compute, {}, ("file", "index")), RECORDS, {})


@pytest.mark.parametrize(("number", "error", "status"), STOPS, ids=lambda one: str(one))
def test_a_stopped_run_leaves_what_it_made(number, error, status, tmp_path, capsys):
    def stop(record):
        if record["index"] == 4:
            os.kill(os.getpid(), number)

    with pytest.raises(error, match=r"4 of 6 pictures are in .*--skip-existing"), stoppable():
        make([job(stop)], Results(tmp_path), 2)
    assert read_records(tmp_path) == RECORDS[:4]
    assert [read_records(tmp_path / r["file"])[0] for r in RECORDS[:4]] == RECORDS[:4]
    make([job()], Results(tmp_path, "skip"), 2)
    assert read_records(tmp_path) == RECORDS
    assert "2 pictures (4 were there)" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "error", "status"), STOPS, ids=lambda one: str(one))
def test_a_stopped_command_says_one_line(number, error, status, monkeypatch, capsys):
    before = signal.getsignal(number)
    monkeypatch.setattr(generate, "run", lambda args: os.kill(os.getpid(), number))
    assert main(["generate"]) == status
    assert capsys.readouterr().err == "stopped\n"
    assert signal.getsignal(number) is before


def test_signals_that_are_ignored_stay_so():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
