"""The metrics of pairs of pictures that several subcommands report, and their options."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from clipdiff_jax.metrics.pixels import mae, psnr, ssim
from clipdiff_jax.perceptual.lpips import NETS, load_lpips


class Metric(NamedTuple):
    """A metric of pairs: its title and digits in a table, and (images, truths) -> scores."""

    title: str
    digits: str
    scores: Callable[[Any, Any], jax.Array]


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


def pixel_metrics(args: argparse.Namespace) -> dict[str, Metric]:
    """MAE, PSNR and SSIM, and LPIPS where `add_lpips_options` were given."""
    metrics = {
        "mae": Metric("MAE ↓", ".4f", mae),
        "psnr": Metric("PSNR, dB ↑", ".2f", psnr),
        "ssim": Metric("SSIM ↑", ".4f", ssim),
    }
    files = (args.lpips_network, args.lpips_heads)
    if args.lpips is None:
        if any(files):
            raise ValueError(f"weights of LPIPS need --lpips {' or '.join(NETS)}")
        return metrics
    if not all(files):
        raise ValueError("--lpips needs --lpips-network and --lpips-heads, the two weight files")
    model = load_lpips(*files, net=args.lpips)
    return metrics | {"lpips": Metric(f"LPIPS ({args.lpips}) ↓", ".4f", model.distance)}
