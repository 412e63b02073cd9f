"""UNet forward and training step, ours beside diffusers on the same weights and machine.

    python benchmarks/unet.py [--size 32] [--batch 4] [--repeat 5]

The network is the DDPM UNet of CelebA-HQ 256 at `--width` times its channels. Prints medians, the
ratio ours / PyTorch, and each process's peak memory. Needs the extra `[parity]`. On a GPU, PyTorch
runs on it too where it can.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

CHANNELS = (128, 128, 256, 256, 512, 512)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--width", type=float, default=0.5, help="share of the full channels")
    parser.add_argument("--side", choices=("ours", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps({"ours": ours, "torch": pytorch}[args.side](args)))
        return
    # A process a side: peak memory is then that side's own, and threads do not fight.
    results = {}
    for side in ("ours", "torch"):
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        results[side] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"| | ours | PyTorch ({results['torch']['device']}) | ours / PyTorch |\n|---|---|---|---|"
    )
    for name, unit in [("forward", "s"), ("step", "s"), ("memory", "MiB")]:
        a, b = results["ours"][name], results["torch"][name]
        print(f"| {name} | {a:.3f} {unit} | {b:.3f} {unit} | {a / b:.2f} |")
    print(
        f"ours on {results['ours']['device']}; median of {args.repeat}, batch {args.batch}, "
        f"{args.size} px, {results['ours']['parameters'] / 1e6:.1f}M parameters"
    )


def median(call, repeat: int) -> float:
    call()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def peak_memory() -> float:
    """MiB that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


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
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    }


def pytorch(args: argparse.Namespace) -> dict:
    import torch
    from diffusers import UNet2DModel

    device = "cuda" if torch.cuda.is_available() else "cpu"
    down = ["DownBlock2D"] * 6
    up = ["UpBlock2D"] * 6
    down[4], up[1] = "AttnDownBlock2D", "AttnUpBlock2D"
    network = UNet2DModel(
        sample_size=args.size,
        block_out_channels=tuple(int(c * args.width) for c in CHANNELS),
        down_block_types=down,
        up_block_types=up,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        attention_head_dim=None,
    ).to(device)
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
    main()
