"""Damages the newest checkpoint of a small run in every way, and goes on from what is left.

    cd tests && python -m helpers.damaged_checkpoints --count 1000

Each time two older good checkpoints are beside it. The run must end bit for bit as the unbroken one
did, from the newest good checkpoint, or be refused by a message that names the checkpoint. Prints
the counts, and each failure with the seed that repeats it.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.checkpoint import ASIDE, CheckpointConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from helpers.damage import OF_BYTES
from helpers.toy import CONFIG, toy_stage

NEWEST, BEFORE, STEPS = 6, 4, 8
WIDTH = 64  # smaller arrays lie in orbax's index, which has checksums of its own
RUN = replace(
    CONFIG,
    log_every=100,
    optim=OptimConfig(learning_rate=0.01),  # constant: how many steps there are is of no matter
    checkpoint=CheckpointConfig(every=2, keep=3),
)


def trained(folder: Path | None, steps: int) -> dict[str, np.ndarray]:
    """The state after so many steps, as arrays by name."""
    state = fit(toy_stage(WIDTH), replace(RUN, steps=steps), folder)
    state = state._replace(key=jax.random.key_data(state.key))
    return {jax.tree_util.keystr(p): np.asarray(x) for p, x in jax.tree.leaves_with_path(state)}


def damage(rng: random.Random, newest: Path, older: Path) -> str:
    """Damages a checkpoint and says how."""
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    kind = rng.choice(("bytes",) * 6 + tuple(WHOLE))
    if kind != "bytes":
        return f"{kind} {WHOLE[kind](rng, newest, older, rng.choice(files))}"
    said = []
    for path in rng.sample(files, rng.choice((1, 1, 1, 2, len(files)))):
        how, data = rng.choice(OF_BYTES), path.read_bytes()
        path.write_bytes(how(rng, data, rng.choice(files).read_bytes()) if data else b"x")
        said.append(f"{how.__name__} {path.relative_to(newest)}")
    return ", ".join(said)


def _removed(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    file.unlink()
    return str(file.relative_to(newest))


def _folder_removed(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    folder = rng.choice([path for path in newest.rglob("*") if path.is_dir()])
    shutil.rmtree(folder)
    return str(folder.relative_to(newest))


def _no_files(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    for path in [path for path in newest.rglob("*") if path.is_file()]:
        path.unlink()
    return ""


def _foreign(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    shutil.rmtree(newest)
    newest.mkdir()
    (newest / "holiday.jpg").write_bytes(rng.randbytes(100))
    return ""


def _is_file(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    shutil.rmtree(newest)
    newest.write_bytes(rng.randbytes(100))
    return ""


def _folder_for_file(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    file.unlink()
    file.mkdir()
    return str(file.relative_to(newest))


def _older(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    shutil.rmtree(newest)
    shutil.copytree(older, newest)
    return ""


def _arrays_of_older(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    shutil.rmtree(newest / "state")
    shutil.copytree(older / "state", newest / "state")
    return ""


def _file_of_older(rng: random.Random, newest: Path, older: Path, file: Path) -> str:
    there = [path for path in older.rglob("*") if (newest / path.relative_to(older)).is_file()]
    path = rng.choice(sorted(there)).relative_to(older)
    shutil.copy(older / path, newest / path)
    return str(path)


WHOLE: dict[str, Callable[[random.Random, Path, Path, Path], str]] = {
    "removed": _removed,
    "folder removed": _folder_removed,
    "no files": _no_files,
    "foreign folder": _foreign,
    "a file": _is_file,
    "folder for file": _folder_for_file,
    "older": _older,
    "arrays of older": _arrays_of_older,
    "file of older": _file_of_older,
}


def make_good(folder: Path) -> dict[str, np.ndarray]:
    """A run with checkpoints 2, 4 and 6; returns how the unbroken one ends."""
    trained(folder, NEWEST)
    assert sorted(p.name for p in (folder / "checkpoints").iterdir()) == ["2", "4", "6"]
    return trained(None, STEPS)


def one_case(good: Path, end: dict[str, np.ndarray], seed: int) -> tuple[str, str]:
    """(what came of it, how it was damaged); what came of it begins with "wrong" for a fault."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(good, run)
        newest = run / "checkpoints" / str(NEWEST)
        how = damage(rng, newest, newest.with_name(str(BEFORE)))
        heard = _Heard()
        logger = logging.getLogger("clipdiff_jax")
        before = logger.level
        logger.addHandler(heard)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            after = trained(run, STEPS)
        except ConfigError as error:
            named = f"checkpoint {NEWEST}" in str(error)
            return ("refused" if named else f"wrong words: {error}"), how
        except Exception as error:  # what the script is for
            return f"wrong: raised {type(error).__name__}: {error}", how
        finally:
            logger.removeHandler(heard)
            logger.setLevel(before)
            logger.propagate = True
        begun = next((t for t in heard.lines if t.startswith("resuming from step")), "from nothing")
        if differ := [n for n in end if end[n].tobytes() != after[n].tobytes()]:
            return f"wrong: {begun}, {len(differ)} arrays differ", how
        step = begun.rsplit(" ", 1)[-1]
        aside = sorted(p.name for p in (run / "checkpoints").glob(f"*{ASIDE}"))
        said = any(
            f"checkpoint {NEWEST} is damaged" in line and str(newest) in line
            for line in heard.lines
        )
        expected = [f"{NEWEST}{ASIDE}"] if step == str(BEFORE) else []
        if step not in (str(NEWEST), str(BEFORE)) or aside != expected or said != bool(expected):
            return f"wrong: {begun}, aside {aside}, {heard.lines}", how
        return begun, how


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> int:
    """Runs the cases; 1 where one was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="of the first case")
    args = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        good = Path(folder) / "good"
        end = make_good(good)
        counts: Counter[str] = Counter()
        slowest = 0.0
        for seed in range(args.seed, args.seed + args.count):
            start = time.perf_counter()
            result, how = one_case(good, end, seed)
            slowest = max(slowest, time.perf_counter() - start)
            counts["wrong" if result.startswith("wrong") else result] += 1
            if result.startswith("wrong"):
                print(f"seed {seed}: {how}: {result}", flush=True)
            if seed % 100 == 99:
                print(f"{seed + 1}: {dict(counts)}, slowest {slowest:.1f} s", flush=True)
    print(f"{args.count} damaged checkpoints: {dict(counts)}, slowest {slowest:.1f} s")
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
