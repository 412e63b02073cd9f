"""Pictures per second and peak memory of the features and statistics that FID is made of.

    python benchmarks/features.py --count 64                   # Inception, random weights
    python benchmarks/features.py --count 4096 --projection    # all but the network

The pictures are made as they are asked for, 256 pixels per side. `--projection` puts a random
matrix in the place of Inception, so that what grows with the number of pictures shows in minutes:
if anything does, it is reading, features, files or statistics, which are the same.

Measured on one CPU core that was busy with other work too. Inception, batches of 16: 1.4 pictures/s
(3.0 a second of the core's own time), peak 1155 MB. The projection: 509, 539, 568 and 572 MB at
1024, 2048, 4096 and 8192 pictures; 141 pictures/s and 0.5 s of statistics for each thousand.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.append(str(Path(__file__).parent.parent / "tests" / "references"))
from inception_weights import random_state

from clipdiff_jax.metrics.features import FeatureNetwork, compute_features
from clipdiff_jax.metrics.fid import statistics
from clipdiff_jax.metrics.inception_features import clean_resize, inception_shapes
from clipdiff_jax.models.inception import FEATURES, Inception
from clipdiff_jax.weights.layouts.inception import TABLE
from clipdiff_jax.weights.tables import expected, import_params


class Noise:
    """Smooth noise of 256 px; picture i is always the same."""

    fingerprint = "noise"

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(index)
        coarse = rng.integers(256, size=(16, 16, 3), dtype=np.uint8)
        return {"image": coarse.repeat(16, axis=0).repeat(16, axis=1)}


def inception() -> FeatureNetwork:
    shapes = inception_shapes()
    params = import_params(TABLE, random_state(expected(TABLE, shapes), 0), shapes)
    embed = lambda params, images: Inception().apply({"params": params}, images)
    return FeatureNetwork(
        "inception-random", clean_resize, embed, jax.tree.map(jnp.asarray, params)
    )


def projection() -> FeatureNetwork:
    matrix = np.random.default_rng(0).standard_normal((23 * 23 * 3, FEATURES), np.float32)
    embed = lambda matrix, images: images[:, ::13, ::13].reshape(len(images), -1) @ matrix
    return FeatureNetwork("projection", clean_resize, embed, jnp.asarray(matrix))


def peak() -> float:
    """MB; Linux counts in kB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--projection", action="store_true")
    args = parser.parse_args()
    network = projection() if args.projection else inception()
    options = {"batch_size": args.batch_size, "progress": False}
    with tempfile.TemporaryDirectory() as folder:
        compute_features(Noise(args.batch_size), network, Path(folder) / "first", **options)
        start = time.perf_counter(), time.process_time()
        found = compute_features(Noise(args.count), network, Path(folder) / "all", **options)
        middle = time.perf_counter(), time.process_time()
        known = statistics(found)
        end = time.perf_counter(), time.process_time()
    print(
        f"{jax.device_count()} x {jax.devices()[0].device_kind}, {args.count} pictures: features "
        f"{middle[0] - start[0]:.1f} s ({middle[1] - start[1]:.1f} of the CPU), "
        f"{args.count / (middle[0] - start[0]):.2f} pictures/s; statistics "
        f"{end[0] - middle[0]:.1f} s; peak {peak():.0f} MB; trace {np.trace(known.covariance):.6g}"
    )
