"""Rendering many avatars by several processes.

They are started as commands, not by multiprocessing: its processes would first run the script again
that asks for avatars, which a script without a main guard does not survive. Each renders every n-th
face of a folder into the array there, and says a byte for each.

    python -m clipdiff_jax.data.avatars.rendering FOLDER FIRST STEP
"""

import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from clipdiff_jax.data.avatars.faces import from_json, render

IMAGES, FACES = "images.npy", "faces.jsonl"


def render_folder(folder: Path, workers: int) -> Iterator[int]:
    """Fills `IMAGES` of a folder with the faces of its `FACES`; yields how many are done since.

    Raises `RuntimeError` with what a process said last where one fails. Left early, it ends them.
    """
    words = [sys.executable, "-m", __spec__.name, str(folder)]
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    processes = [
        subprocess.Popen(
            [*words, str(first), str(workers)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for first in range(workers)
    ]  # fmt: skip
    try:
        with selectors.DefaultSelector() as selector:
            for process in processes:
                selector.register(process.stdout or -1, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    done = len(os.read(key.fd, 4096))
                    if done:
                        yield done
                    else:
                        selector.unregister(key.fileobj)
        for process in processes:
            _, said = process.communicate()
            if process.returncode:
                last = (said.decode(errors="replace").strip() or "nothing").splitlines()[-1]
                raise RuntimeError(f"avatars could not be rendered: {last}")
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def main(folder: Path, first: int, step: int) -> None:
    """Renders the faces `first`, `first + step`, and so on."""
    images = np.load(folder / IMAGES, mmap_mode="r+")
    lines = (folder / FACES).read_text().splitlines()
    for index in range(first, len(lines), step):
        images[index] = render(from_json(lines[index]), images.shape[1])
        os.write(sys.stdout.fileno(), b".")
    images.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
