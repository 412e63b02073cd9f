"""Writes autoencoder.npz: small random autoencoders of diffusers, and what they compute.

    python tests/references/make_autoencoder.py

Needs torch and diffusers. Weights carry diffusers' names, under `kl/` and `tiny/`; arrays are
torch's, NCHW.
"""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

KL = dict(
    block_out_channels=(8, 16),
    layers_per_block=1,
    norm_num_groups=4,
    latent_channels=4,
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
)
TINY = dict(
    encoder_block_out_channels=(8,) * 3,
    decoder_block_out_channels=(8,) * 3,
    num_encoder_blocks=(1, 2, 1),
    num_decoder_blocks=(2, 1, 1),
)


def shuffled(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Every parameter random, norms and biases included."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_((1.0 if name.endswith("weight") else 0.0) + 0.1 * noise)
            else:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
    return model.eval()


def kl(seed: int, **options) -> AutoencoderKL:
    return shuffled(AutoencoderKL(**KL | options), seed)


def tiny(seed: int, **options) -> AutoencoderTiny:
    return shuffled(AutoencoderTiny(**TINY | options), seed)


def outputs(seed: int, model, height: int = 8, width: int = 12) -> dict[str, torch.Tensor]:
    """Inputs and outputs of either kind."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand((2, 3, height, width), generator=generator) * 2 - 1
    with torch.no_grad():
        found = model.encode(image)
        if isinstance(model, AutoencoderTiny):
            out = {"latents": found.latents}
        else:
            out = {"mean": found.latent_dist.mean, "logvar": found.latent_dist.logvar}
        z = torch.randn(next(iter(out.values())).shape, generator=generator)
        out |= {"image": image, "z": z, "decoded": model.decode(z).sample}
    return out


def main() -> None:
    arrays = {}
    for name, model in (("kl", kl(0)), ("tiny", tiny(1))):
        arrays |= {f"{name}/{k}": v for k, v in model.state_dict().items()}
        arrays |= {f"{name}_{k}": v for k, v in outputs(2, model).items()}
    path = Path(__file__).parent / "autoencoder.npz"
    np.savez_compressed(path, **{k: v.numpy() for k, v in arrays.items()})


if __name__ == "__main__":
    main()
