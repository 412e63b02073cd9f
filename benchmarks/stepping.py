"""What it costs to take a walk a step at a time, and to show how far it is.

    python benchmarks/stepping.py [--steps 10] [--batch 1 4] [--repeat 6]

Three ways in turn, with the demo's model: one scan in one program, a program for each step
(`diffusion.stepping`), and that with a bar. The CPU time leaves out other work on the machine; on a
GPU look at the wall time.
"""

import argparse
import contextlib
import io
import time

import jax
import numpy as np

from clipdiff_jax.core.compilation import enable_compilation_cache
from clipdiff_jax.pixel.load import load_diffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--repeat", type=int, default=6)
    args = parser.parse_args()
    enable_compilation_cache()
    base = load_diffusion("demo")
    for batch in args.batch:

        def draw(model, key, progress=False, batch=batch):
            return model.generate(batch, key=key, steps=args.steps, progress=progress)

        def with_bar(model, key, draw=draw):
            with contextlib.redirect_stderr(io.StringIO()):
                return draw(model, key, progress=True)

        ways = {"one scan": jax.jit(draw), "by steps": draw, "with a bar": with_bar}
        times = {name: [] for name in ways}
        for number in range(args.repeat + 1):
            for name, way in ways.items():
                cpu, wall = time.process_time(), time.perf_counter()
                jax.block_until_ready(way(base, jax.random.key(number)))
                if number:  # the first compiles
                    times[name].append((time.process_time() - cpu, time.perf_counter() - wall))
        for name, found in times.items():
            cpu, wall = np.min(found, axis=0)
            print(f"{batch} pictures, {name}: {cpu:.3f} s of CPU time, {wall:.3f} s", flush=True)


if __name__ == "__main__":
    main()
