"""Trains onto a disk that fills up, and again when there is space: three runs of `train.py`.

A script: full_disk_run.py RECIPE FOLDER tmpfs|limit. With `tmpfs`, FOLDER becomes a small disk of
its own (run it under `unshare -rm`); with `limit` no file may grow beyond a few kilobytes, so that
writes fail in the middle. Prints what each run returned and left.
"""

import contextlib
import io
import json
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from clipdiff_jax.cli.main import train as main
from clipdiff_jax.weights.safetensors_file import read_safetensors

DISK, LIMIT = 4 * 2**20, 20_000  # bytes; the model alone has 150 kB


def train(recipe: Path, work: Path, *options: str) -> dict:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        status = main(["--config", str(recipe), "--workdir", str(work), *options])
    names = sorted(str(path.relative_to(work)) for path in work.glob("*/*"))
    model = read_safetensors(work / "model" / "model.safetensors")
    return {
        "status": status,
        "errors": [line for line in said.getvalue().splitlines() if line.startswith("error")],
        "resumed": "resuming from step 2" in said.getvalue(),
        "files": [name for name in names if not name.endswith("-tmp")],
        "model": float(sum(abs(array).sum() for array in model.values())),
    }


def fill(folder: Path, kind: str) -> None:
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, resource.RLIM_INFINITY))
        return
    with (folder / "filler").open("wb", buffering=0) as file:
        while shutil.disk_usage(folder).free > LIMIT:
            file.write(bytes(4096))


def make_space(folder: Path, kind: str) -> None:
    if kind == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (folder / "filler").unlink()


if __name__ == "__main__":
    recipe, folder, kind = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    if kind == "tmpfs":
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder], check=True)
    more = "--config.train.steps=4"
    exporting = ("--config.train.checkpoint.every=100", "--config.train.export_every=3")
    runs = {"first": train(recipe, folder / "work")}
    fill(folder, kind)
    runs["saving"] = train(recipe, folder / "work", more, "--config.train.checkpoint.every=1")
    runs["exporting"] = train(recipe, folder / "work", more, *exporting)
    make_space(folder, kind)
    runs["again"] = train(recipe, folder / "work", more)
    print(json.dumps(runs))
