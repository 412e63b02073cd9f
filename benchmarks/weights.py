"""The sizes in docs/weights.md: parameters and bytes of each published model, from shapes alone.

python benchmarks/weights.py
"""

import dataclasses
import functools
import math

import jax

from clipdiff_jax.models.arcface import ArcFaceConfig
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unet import UNetConfig, num_params
from clipdiff_jax.pipelines import clip, face

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


def count(init) -> int:
    return sum(math.prod(x.shape) for x in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def main() -> None:
    counts = {name: count(functools.partial(clip.init_params, c)) for name, c in CLIPS.items()}
    counts |= {name: num_params(config, config.stride) for name, config in UNETS.items()}
    counts["ArcFace IR-SE50"] = count(functools.partial(face.init_params, ArcFaceConfig()))
    print("| model | parameters | float32 | bfloat16 |\n|---|--:|--:|--:|")
    for name, n in counts.items():
        print(f"| {name} | {n / 1e6:.1f}M | {4 * n / 2**20:.0f} MiB | {2 * n / 2**20:.0f} MiB |")


if __name__ == "__main__":
    main()
