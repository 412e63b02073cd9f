"""How long the everyday commands take from their start to their end, nothing compiled and again.

    python benchmarks/starting.py [train edit generate evaluate]

Each is asked for as little as it can do, so that most of it is starting: importing, loading,
tracing, compiling. Cold is with an empty cache folder, cached the same command once more. Seconds
of the processor, its own and the system's, of all threads: waiting is left out.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = {
    "generate": "generate --model demo --count 1 --steps 2 --out {out}/generated --overwrite",
    "edit": "edit {faces} --edit demo/smile --steps 2 --out {out}/edited --overwrite",
    "train": "train --config avatars/edit_smile --config.train.steps=1 --config.stage.images=4 "
    "--config.stage.objective.invert_steps=2 --workdir {out}/trained{again}",
    "evaluate": "evaluate zero-shot --model demo --count 16 --out {out}/scores{again}",
}
RUN = "from clipdiff_jax.cli.main import main; raise SystemExit(main())"


def seconds(command: str, cache: Path) -> tuple[float, float]:
    """Of the processor, and on the clock."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"CLIPDIFF_JAX_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command.split()], env=environment, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"clipdiff {command}\n{done.stderr.decode()}")
    after, end = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, end - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    args = parser.parse_args()
    print("| command | cold | cached |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        seconds(f"data --split test --count 1 --out {out}/faces", out / "cache-of-data")
        for name in args.commands or COMMANDS:
            command, cache = COMMANDS[name], out / f"cache-of-{name}"
            taken = [
                seconds(command.format(out=out, faces=out / "faces", again=again), cache)[0]
                for again in ("", "-again")
            ]
            print(f"| {name} | {taken[0]:.1f} s | {taken[1]:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
