"""One forward of a published network at full size, ours beside diffusers on the same weights.

    python benchmarks/full_size.py decoder         Karlo's decoder, 885M parameters, 64 px
    python benchmarks/full_size.py celebahq        the UNet of DDPM CelebA-HQ, 114M, 256 px
    python benchmarks/full_size.py sd1             Stable Diffusion 1's UNet, 860M, 64 px latents
    python benchmarks/full_size.py decoder --tiny  the same at a few channels, to see that it runs

diffusers' network is made with random weights, saved, and read by both sides: ours through
`convert`. Beside the times and the memory of each process the table has what the two outputs say:
their norms, and below it their relative difference. The two large ones take 3.5 GB of disk each,
and either side about twice that of memory. Needs the extra `[parity]`.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from side_by_side import compare, median, peak_memory

from clipdiff_jax.models import presets
from clipdiff_jax.weights.layouts import decoder_diffusers, latent_unet, unet_diffusers

TOKENS = {"decoder": 81, "sd1": 77}  # of what a network is told beside the time
# What diffusers' classes are made with: the config of each published network.
NETWORKS = {
    "decoder": decoder_diffusers.write_config(presets.KARLO_DECODER.network, 64),
    "celebahq": unet_diffusers.write_config(presets.DDPM_256.unet, 256),
    "sd1": latent_unet.write_config(presets.SD1_UNET, 64),
}
TINY = {
    "decoder": {
        "sample_size": 16, "layers_per_block": 1, "block_out_channels": (32, 32, 64, 64),
        "attention_head_dim": 32, "cross_attention_dim": 48,
    },
    "celebahq": {
        "sample_size": 64, "layers_per_block": 1, "block_out_channels": (32, 32, 32, 32, 64, 64),
    },
    "sd1": {
        "sample_size": 16, "layers_per_block": 1, "block_out_channels": (32, 32, 64, 64),
        "attention_head_dim": 4, "cross_attention_dim": 48,
    },
}  # fmt: skip


def described(network: str, document: dict):
    """Our config, and the table of diffusers' names."""
    if network == "sd1":
        config = latent_unet.read_config(document, None)
        return config, latent_unet.table(config, "diffusers")
    layout = decoder_diffusers if network == "decoder" else unet_diffusers
    config = layout.read_config(document)
    return config, layout.table(config)


def inputs(network: str, document: dict, batch: int) -> dict[str, np.ndarray]:
    """x NHWC, t, and what the network is conditioned on, where it is."""
    rng = np.random.default_rng(0)
    size, channels = document["sample_size"], document.get("in_channels", 3)
    drawn = {
        "x": rng.normal(size=(batch, size, size, channels)).astype(np.float32),
        "t": np.full((batch,), 500),
    }
    if network == "decoder":
        pooled = 4 * document["block_out_channels"][0]
        drawn["pooled"] = rng.normal(size=(batch, pooled)).astype(np.float32)
    if network in TOKENS:
        context = (batch, TOKENS[network], document["cross_attention_dim"])
        drawn["context"] = rng.normal(size=context).astype(np.float32)
    return drawn


def diffusers_class(document: dict) -> type:
    import diffusers

    return getattr(diffusers, document["_class_name"])


def write(args: argparse.Namespace) -> None:
    """Makes the network once, with random weights."""
    import torch

    torch.manual_seed(0)
    options = NETWORKS[args.network] | (TINY[args.network] if args.tiny else {})
    kind = diffusers_class(options)
    options = {name: value for name, value in options.items() if name != "_class_name"}
    kind(**options).save_pretrained(args.folder)


def ours(args: argparse.Namespace) -> dict:
    import jax
    import jax.numpy as jnp

    from clipdiff_jax.models.unet import UNet
    from clipdiff_jax.weights.read import open_tensors
    from clipdiff_jax.weights.tables import import_params

    document = json.loads((args.folder / "config.json").read_text())
    config, table = described(args.network, document)
    network = UNet(config)
    given = jax.tree.map(jnp.asarray, inputs(args.network, document, args.batch))
    x, t = given.pop("x"), given.pop("t")
    shapes = jax.eval_shape(network.init, jax.random.key(0), x, t, given)["params"]
    params = import_params(
        table, open_tensors(args.folder), shapes, place=lambda _, a: jnp.asarray(a)
    )
    forward = jax.jit(lambda params, x, t, cond: network.apply({"params": params}, x, t, cond))
    seconds = median(lambda: jax.block_until_ready(forward(params, x, t, given)), args.repeat)
    out = np.asarray(forward(params, x, t, given))
    np.save(args.folder / "ours.npy", out)
    return {
        "forward": seconds,
        "memory": peak_memory(),
        "norm of the output": float(np.linalg.norm(out)),
        "device": jax.devices()[0].device_kind,
    }


def pytorch(args: argparse.Namespace) -> dict:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    document = json.loads((args.folder / "config.json").read_text())
    network = diffusers_class(document).from_pretrained(args.folder).to(device).eval()
    drawn = inputs(args.network, document, args.batch)
    given = {name: torch.tensor(array, device=device) for name, array in drawn.items()}
    x, t = given["x"].permute(0, 3, 1, 2), given["t"]
    conditioning = [given[name] for name in ("context", "pooled") if name in given]

    @torch.no_grad()
    def forward():
        out = network(x, t, *conditioning).sample
        if device == "cuda":
            torch.cuda.synchronize()
        return out

    seconds = median(forward, args.repeat)
    out = forward().permute(0, 2, 3, 1).cpu().numpy()
    difference = np.linalg.norm(out - np.load(args.folder / "ours.npy")) / np.linalg.norm(out)
    print(f"relative difference of the outputs {difference:.1e}", file=sys.stderr)
    return {
        "forward": seconds,
        "memory": peak_memory(),
        "norm of the output": float(np.linalg.norm(out)),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tiny", action="store_true", help="a few channels, to see that it runs")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args, _ = parser.parse_known_args()
    rows = {"forward": "s", "memory": "MiB", "norm of the output": ""}
    if args.folder is not None:  # one of the two sides
        compare(parser, ours, pytorch, rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        args.folder = Path(folder)
        write(args)
        sys.argv += ["--folder", folder]
        compare(parser, ours, pytorch, rows)


if __name__ == "__main__":
    main()
