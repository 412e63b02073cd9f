"""The metrics of pairs of pictures that several subcommands report, and their options."""

import argparse
from pathlib import Path

from clipdiff_jax.metrics.registry import OF_PAIRS, PairMetric, of_lpips
from clipdiff_jax.perceptual.lpips import NETS, load_lpips


def add_lpips_options(parser: argparse.ArgumentParser) -> None:
    """The options that name the weights of LPIPS."""
    parser.add_argument("--lpips", choices=tuple(NETS), help="LPIPS too, with this network")
    parser.add_argument(
        "--lpips-network", type=Path, metavar="FILE", help="torchvision's weights of the network"
    )
    parser.add_argument(
        "--lpips-heads", type=Path, metavar="FILE",
        help="the lpips package's weights/v0.1/alex.pth or vgg.pth",
    )  # fmt: skip


def pixel_metrics(args: argparse.Namespace) -> dict[str, PairMetric]:
    """MAE, PSNR and SSIM, and LPIPS where `add_lpips_options` were given."""
    files = (args.lpips_network, args.lpips_heads)
    if args.lpips is None:
        if any(files):
            raise ValueError(f"weights of LPIPS need --lpips {' or '.join(NETS)}")
        return dict(OF_PAIRS)
    if not all(files):
        raise ValueError("--lpips needs --lpips-network and --lpips-heads, the two weight files")
    model = load_lpips(*files, net=args.lpips)
    return OF_PAIRS | of_lpips(model, args.lpips)
