"""Reads batches with a worker process while Ctrl-C reaches the whole group of processes.

python -m helpers.interrupted_reader        prints how many batches came after it
"""

import os
import signal
import time

from clipdiff_jax.data.loader import batches
from helpers.tiny_stages import Noise

if __name__ == "__main__":
    noted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    data = batches(Noise(), batch_size=2, seed=0, num_workers=1)
    next(data)
    os.killpg(os.getpgrp(), signal.SIGINT)
    time.sleep(0.5)
    print(len([next(data) for _ in range(12)]), "batches after", len(noted))
