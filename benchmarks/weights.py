"""The sizes in docs/weights.md: parameters and bytes of each published model, from shapes alone.

    python benchmarks/weights.py
    python benchmarks/weights.py --working

`--working` compiles, without running it, one evaluation of each network that makes Karlo's pictures
in bfloat16, and prints what it needs beside the parameters. XLA plans memory for the device that is
available.
"""

import argparse
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from clipdiff_jax.models import arcface, autoencoder, clip, latent, presets, taesd, unclip
from clipdiff_jax.models.arcface import ArcFaceConfig
from clipdiff_jax.models.latent import TextTower
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.models.unet_size import num_params

CLIPS = {
    "CLIP ViT-B/32": presets.CLIP_VIT_B32,
    "CLIP ViT-B/16": presets.CLIP_VIT_B16,
    "CLIP ViT-L/14": presets.CLIP_VIT_L14,
    "CLIP RN50": presets.CLIP_RN50,
    "OpenCLIP ViT-H/14": presets.OPENCLIP_VIT_H14,
}
UNETS = {
    "DDPM at 256 px": presets.DDPM_256.unet,
    "DDPM CIFAR-10": presets.DDPM_CIFAR10.unet,
    "guided 64 px": presets.ADM_64,
    "guided 128 px": presets.ADM_128,
    "guided 256 px": presets.ADM_256,
    "guided 256 px, no classes": presets.ADM_256_NO_CLASSES,
    "guided 512 px": presets.ADM_512,
    "P2, ILVR 256 px": presets.P2_256,
}
PARTS = {
    "Karlo, text tower": presets.KARLO_TEXT,
    "Karlo, image tower (variations)": presets.KARLO_IMAGE,
    "Karlo, prior": presets.KARLO_PRIOR,
    "Karlo, decoder": presets.KARLO_DECODER,
    "Karlo, upsampler (two networks)": presets.KARLO_UPSAMPLER,
}
LATENT_UNETS = {
    "Stable Diffusion 1, UNet": presets.SD1_UNET,
    "Stable Diffusion 2, UNet": presets.SD2_UNET,
    "SDXL, UNet": presets.SDXL_UNET,
}
LATENT_TEXTS = {
    "Stable Diffusion 2, text tower": TextTower(presets.SD2_TEXT),
    "SDXL, second text tower": TextTower(presets.SDXL_SECOND_TEXT, 1280),
}
DECODER, UPSAMPLER = presets.KARLO_DECODER.network, presets.KARLO_UPSAMPLER.network
TOKENS = 81  # of the decoder's context
GUIDED_BATCH = 2  # one picture, with and without its conditions


def count(init) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def working_memory() -> dict[str, int]:
    """Bytes that one evaluation takes beside parameters, in bfloat16, for one picture."""
    floats = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.bfloat16)
    batch, conditioned = (GUIDED_BATCH, 64, 64, 3), DECODER.context_width
    calls = {
        "decoder": (DECODER, batch, {
            "pooled": floats((GUIDED_BATCH, DECODER.pooled_width)),
            "context": floats((GUIDED_BATCH, TOKENS, conditioned)),
        }),
        "upsampler": (UPSAMPLER, (1, 256, 256, 6), {}),
    }  # fmt: skip
    found = {}
    for name, (config, shape, cond) in calls.items():
        network: Any = UNet(config, dtype=jnp.bfloat16)
        x, t = floats(shape), jax.ShapeDtypeStruct(shape[:1], jnp.int32)
        params = jax.eval_shape(network.init, jax.random.key(0), x, t, cond)
        params = jax.tree.map(lambda leaf: floats(leaf.shape), params)
        compiled = jax.jit(network.apply).lower(params, x, t, cond).compile()
        found[name] = compiled.memory_analysis().temp_size_in_bytes
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Sizes of published models; see the docstring.")
    parser.add_argument("--working", action="store_true", help="compile Karlo's networks")
    if parser.parse_args().working:
        for name, size in working_memory().items():
            print(f"{name}: {size / 2**20:.0f} MiB beside the parameters")
        return
    counts = {name: count(functools.partial(clip.init_params, c)) for name, c in CLIPS.items()}
    counts |= {name: num_params(config, config.stride) for name, config in UNETS.items()}
    counts["ArcFace IR-SE50"] = count(functools.partial(arcface.init_params, ArcFaceConfig()))
    counts |= {name: num_params(config, config.stride) for name, config in LATENT_UNETS.items()}
    vae, tiny = autoencoder.AutoencoderConfig(), taesd.TinyAutoencoderConfig()
    counts["Stable Diffusion's autoencoder"] = count(
        functools.partial(autoencoder.init_params, vae)
    )
    counts["TAESD"] = count(functools.partial(taesd.init_params, tiny))
    for name, tower in LATENT_TEXTS.items():
        counts[name] = count(functools.partial(latent.init_text, tower))
    for name, part in PARTS.items():
        counts[name] = count(functools.partial(unclip.init_params, part))
    print("| model | parameters | float32 | bfloat16 |\n|---|--:|--:|--:|")
    for name, n in counts.items():
        print(f"| {name} | {n / 1e6:.1f}M | {4 * n / 2**20:.0f} MiB | {2 * n / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
