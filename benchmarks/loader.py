"""How many avatars per second the loader delivers, without and with worker processes.

    python benchmarks/loader.py --size 64 --batch-size 64

Measured at 64 px on two CPU cores that were at the same time busy with other work: 4900 images/s
without workers, 1900 with two (which then compete with everything else for the same two cores).
"""

import argparse
import time

from clipdiff_jax.data.avatars.source import Avatars, AvatarsData, open_avatars
from clipdiff_jax.data.loader import batches
from clipdiff_jax.data.transforms import prepare


def measure(source: Avatars, size: int, batch_size: int, workers: int, seconds: float) -> float:
    """Images per second over `seconds`, counted once every worker runs and buffers are in use."""
    reader = batches(
        source, batch_size=batch_size, seed=0, transform=prepare(size, True), num_workers=workers
    )
    for _ in range(20 + 10 * workers):
        next(reader)
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += len(next(reader)["image"])
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    source = open_avatars(AvatarsData(args.size, count=args.count))
    for i in range(len(source)):  # captions are composed once
        source[i]
    for workers in args.workers:
        rate = measure(source, args.size, args.batch_size, workers, args.seconds)
        print(f"{workers} workers: {rate:.0f} images/s", flush=True)


if __name__ == "__main__":
    main()
