"""UNet forward and training step, ours beside diffusers: the same network on the same machine.

    python benchmarks/unet.py [--size 64] [--batch 2] [--width 0.5] [--repeat 5]

The network is the DDPM UNet of CelebA-HQ 256 with `--width` times its channels (1.0 is the full
114M parameters). Needs the extra `[parity]`. On a GPU, PyTorch runs on it too where it can.
"""

import argparse

from side_by_side import compare, median, peak_memory

CHANNELS = (128, 128, 256, 256, 512, 512)


def ours(args: argparse.Namespace) -> dict:
    import jax
    import jax.numpy as jnp
    import optax

    from clipdiff_jax.models.unet import UNet, UNetConfig

    config = UNetConfig(channels=tuple(int(c * args.width) for c in CHANNELS))
    network = UNet(config)
    x = jax.random.normal(jax.random.key(0), (args.batch, args.size, args.size, 3))
    t = jnp.full((args.batch,), 500)
    params = jax.jit(network.init)(jax.random.key(1), x, t)
    optimizer = optax.adam(1e-4)

    forward = jax.jit(lambda p: network.apply(p, x, t))

    def loss(p):
        return jnp.mean((network.apply(p, x, t) - x) ** 2)

    @jax.jit
    def step(p, opt):
        updates, opt = optimizer.update(jax.grad(loss)(p), opt, p)
        return optax.apply_updates(p, updates), opt

    opt = optimizer.init(params)
    return {
        "forward": median(lambda: jax.block_until_ready(forward(params)), args.repeat),
        "step": median(lambda: jax.block_until_ready(step(params, opt)), args.repeat),
        "memory": peak_memory(),
        "device": jax.devices()[0].device_kind,
    }


def torch_unet(size: int, width: float):
    """The same network in diffusers."""
    from diffusers import UNet2DModel

    down, up = ["DownBlock2D"] * 6, ["UpBlock2D"] * 6
    down[4], up[1] = "AttnDownBlock2D", "AttnUpBlock2D"
    return UNet2DModel(
        sample_size=size,
        block_out_channels=tuple(int(c * width) for c in CHANNELS),
        down_block_types=down,
        up_block_types=up,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        attention_head_dim=None,
    )


def pytorch(args: argparse.Namespace) -> dict:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = torch_unet(args.size, args.width).to(device)
    x = torch.randn(args.batch, 3, args.size, args.size, device=device)
    t = torch.full((args.batch,), 500, device=device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def wait():
        if device == "cuda":
            torch.cuda.synchronize()

    def forward():
        with torch.no_grad():
            network(x, t)
        wait()

    def step():
        optimizer.zero_grad()
        ((network(x, t).sample - x) ** 2).mean().backward()
        optimizer.step()
        wait()

    return {
        "forward": median(forward, args.repeat),
        "step": median(step, args.repeat),
        "memory": peak_memory(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--width", type=float, default=0.5, help="share of the full channels")
    compare(parser, ours, pytorch, {"forward": "s", "step": "s", "memory": "MiB"})
