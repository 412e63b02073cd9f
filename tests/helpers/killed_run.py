"""Trains the toy stage in a child process again and again and kills it ten times at random.

Run as a script with a folder; prints the newest complete checkpoint after each kill. The children
are forked before jax starts its backend, so that imports are paid for once.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from clipdiff_jax.training.checkpoint import CheckpointConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from helpers.toy import CONFIG, toy_stage

KILLS = 10


def killable(config: TrainConfig) -> TrainConfig:
    """A long run that saves after every step."""
    return replace(config, steps=60, log_every=50, checkpoint=CheckpointConfig(every=1))


def newest(folder: Path) -> int:
    """The newest completed checkpoint: a folder gets a number for a name when it is whole."""
    steps = [int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit()]
    return max(steps, default=0)


def killed_child(folder: Path, wait_for: int, delay: float) -> None:
    """Trains in a child until a checkpoint of step `wait_for` is there and `delay` has passed."""
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        fit(toy_stage(), killable(CONFIG), folder)
        os._exit(0)
    limit = time.monotonic() + 60
    while newest(folder) < wait_for and time.monotonic() < limit:
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main(folder: Path) -> None:
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder / "cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    rng, run = random.Random(0), folder / "run"
    complete = []
    for _ in range(KILLS):
        # Not always after a new checkpoint: a child may die while it restores or compiles.
        reached = newest(run)
        killed_child(run, reached + rng.randint(0, 4), rng.uniform(0, 0.1))
        complete.append(newest(run))
    print(json.dumps({"complete_after_kill": complete}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
