"""The gradient of a few sampling steps of the demo's UNet, as a loop and one after another.

    python benchmarks/loops.py [--steps 3] [--batch 4]

In seconds of the processor, for compiling and for running. A loop compiles one step; on CPUs it
runs as quickly because of `models/convolution.py`.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.sampler import sample, steps_of
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    base = load_diffusion("demo")
    step, times = ddim(base.config.schedule), ddim_grid(500, args.steps)
    size = base.config.image_size
    x = jax.random.normal(jax.random.key(0), (args.batch, size, size, 3))

    def looped(denoise):
        return sample(denoise, step, times, x, remat=True)

    def one_after_another(denoise):
        laid_out = steps_of(denoise, step, times, x)
        carry = laid_out.carry
        for index in range(args.steps):
            one = jax.tree.map(lambda leaf, index=index: leaf[index], laid_out.inputs)
            carry = jax.checkpoint(lambda *a: laid_out.body(*a)[0])(carry, one)
        return laid_out.end(carry, None)

    for name, walk in (("loop", looped), ("one after another", one_after_another)):
        gradient = jax.jit(
            jax.grad(lambda p, walk=walk: jnp.sum(walk(Diffusion(base.config, p).denoise) ** 2))
        )
        start = time.process_time()
        compiled = gradient.lower(base.params).compile()
        compiling = time.process_time() - start
        jax.block_until_ready(compiled(base.params))
        seconds = []
        for _ in range(args.repeat):
            start = time.process_time()
            jax.block_until_ready(compiled(base.params))
            seconds.append(time.process_time() - start)
        print(f"{name}: compiled in {compiling:.1f} s, runs in {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
