"""The sizes in docs/weights.md: parameters and bytes of each published model, from shapes alone.

    python benchmarks/weights.py
    python benchmarks/weights.py --working

`--working` compiles, without running it, one evaluation of each network that makes Karlo's pictures
in bfloat16, and prints what it needs beside the parameters. XLA plans memory for the device at
hand.
"""

import argparse
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from clipdiff_jax.models import arcface, clip
from clipdiff_jax.models.arcface import ArcFaceConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unclip import (
    Decoder,
    ImageEncoder,
    Prior,
    TextEncoder,
    Upsampler,
)
from clipdiff_jax.models.unet import UNet, UNetConfig, num_params
from clipdiff_jax.unclip import networks as unclip_networks

LARGE = TextConfig(width=768, heads=12, mlp_width=3072)
HUGE = TextConfig(width=1024, heads=16, depth=24, mlp_width=4096)
CLIPS = {
    "CLIP ViT-B/32": CLIPConfig(),
    "CLIP ViT-B/16": CLIPConfig(VisionTransformerConfig(patch_size=16)),
    "CLIP ViT-L/14": CLIPConfig(
        VisionTransformerConfig(patch_size=14, width=1024, depth=24, heads=16, mlp_width=4096),
        LARGE,
        projection_dim=768,
    ),
    "CLIP RN50": CLIPConfig(ModifiedResNetConfig(), projection_dim=1024),
    "OpenCLIP ViT-H/14": CLIPConfig(
        VisionTransformerConfig(patch_size=14, width=1280, depth=32, heads=16, mlp_width=5120),
        HUGE,
        projection_dim=1024,
    ),
}
GUIDED = UNetConfig(
    out_channels=6, channels=(256, 256, 512, 512, 1024, 1024), attention_levels=(3, 4, 5),
    head_width=64, norm_eps=1e-5, time_order="cos_sin", time_shift=0.0, scale_shift=True,
    residual_resampling=True, downsample_padding="both",
)  # fmt: skip
UNETS = {
    "DDPM at 256 px": UNetConfig(),
    "DDPM CIFAR-10": UNetConfig(channels=(128, 256, 256, 256), attention_levels=(1,)),
    "guided 64 px": dataclasses.replace(
        GUIDED, channels=(192, 384, 576, 768), blocks=3, attention_levels=(1, 2, 3),
        num_classes=1000,
    ),
    "guided 128 px": dataclasses.replace(
        GUIDED, channels=(256, 256, 512, 768, 1024), attention_levels=(2, 3, 4), head_width=None,
        heads=4, num_classes=1000,
    ),
    "guided 256 px": dataclasses.replace(GUIDED, num_classes=1000),
    "guided 256 px, no classes": GUIDED,
    "guided 512 px": dataclasses.replace(
        GUIDED, channels=(128, 256, 256, 512, 512, 1024, 1024), attention_levels=(4, 5, 6),
        sinusoid_width=256, time_width=1024, num_classes=1000,
    ),
    "P2, ILVR 256 px": dataclasses.replace(
        GUIDED, channels=(128, 128, 256, 256, 512, 512), blocks=1, attention_levels=(4,)
    ),
}  # fmt: skip

KARLO = dataclasses.replace(GUIDED, channels=(320, 640, 960, 1280), blocks=3, attention_levels=())
DECODER = dataclasses.replace(
    KARLO, attention_levels=(1, 2, 3), pooled_width=1280, pooled_projection=False,
    context_width=1536,
)  # fmt: skip
UPSAMPLER = dataclasses.replace(
    KARLO, in_channels=6, out_channels=3, attention_levels=(), middle_attention=False,
    scale_shift=False,
)  # fmt: skip
LARGE_CLIP = CLIPS["CLIP ViT-L/14"]
STAGES = {
    "Karlo, text tower": TextEncoder(LARGE_CLIP.text),
    "Karlo, image tower (variations)": ImageEncoder(LARGE_CLIP.vision),
    "Karlo, prior": Prior(),
    "Karlo, decoder": Decoder(DECODER),
    "Karlo, upsampler (two networks)": Upsampler(UPSAMPLER),
}
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
    for name, stage in STAGES.items():
        counts[name] = count(functools.partial(unclip_networks.init_params, stage))
    print("| model | parameters | float32 | bfloat16 |\n|---|--:|--:|--:|")
    for name, n in counts.items():
        print(f"| {name} | {n / 1e6:.1f}M | {4 * n / 2**20:.0f} MiB | {2 * n / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
