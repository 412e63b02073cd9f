"""The gradient of a few sampling steps of the demo's UNet, as a loop and unrolled.

    python benchmarks/loops.py [--steps 3] [--batch 4]

Decides `core.compilation.loops_are_slow`: where the ratio is near one, loops are preferable, since
they compile faster.
"""

import argparse

import jax
import jax.numpy as jnp
from side_by_side import median

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.sampler import Loop, sample
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

    def seconds(unroll: bool) -> float:
        def loss(params):
            denoise = Diffusion(base.config, params).denoise
            made = sample(denoise, step, times, x, None, None, Loop(remat=True, unroll=unroll))
            return jnp.sum(made**2)

        gradient = jax.jit(jax.grad(loss))
        return median(lambda: jax.block_until_ready(gradient(base.params)), args.repeat)

    loop, laid_out = seconds(False), seconds(True)
    print(f"loop {loop:.2f} s, laid out {laid_out:.2f} s, ratio {loop / laid_out:.1f}")


if __name__ == "__main__":
    main()
