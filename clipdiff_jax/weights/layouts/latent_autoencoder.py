"""The KL autoencoder of latent diffusion under its two sets of names, with its config or without.

diffusers' `AutoencoderKL`, files older than diffusers 0.14 included, and the original (Rombach et
al. 2022, CompVis), where attention is of 1x1 convolutions and the decoder's levels are counted from
the finest.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import pixel_ddpm, unet_diffusers
from clipdiff_jax.weights.layouts.latent_unet import Naming
from clipdiff_jax.weights.tables import CONV, Table, affine, norm

AUTOENCODER = "AutoencoderKL"
_FIXED: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "act_fn": "silu",
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "latents_mean": None,
    "latents_std": None,
}
_DOWN, _UP = "DownEncoderBlock2D", "UpDecoderBlock2D"
_SD_SCALING = AutoencoderConfig().scaling

PREFIX = "first_stage_model."  # before the names in a file of a whole model
# What training leaves in files of the original names.
_OF_TRAINING = re.compile(r"loss\..*|model_ema\..*|global_step")


def without_training(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of the model, of a file of the original names."""
    return {name: tensor for name, tensor in tensors.items() if not _OF_TRAINING.fullmatch(name)}


def table(config: AutoencoderConfig, naming: Naming) -> Table:
    """The names of the autoencoder that `config` describes.

    Raises `WeightsError` for one on patches, which neither naming has.
    """
    if config.patch != 1:
        raise WeightsError(
            f"neither diffusers nor the original has an autoencoder on patches of {config.patch}"
        )
    original = naming == "original"
    # The original's blocks are named as those of DDPM, whose code it began with.
    blocks = pixel_ddpm if original else unet_diffusers
    rules = [
        *affine("quant_conv", "quant", CONV),
        *affine("post_quant_conv", "post_quant", CONV),
    ]
    for half in ("encoder", "decoder"):
        out = f"{half}.norm_out" if original else f"{half}.conv_norm_out"
        rules += affine(f"{half}.conv_in", f"{half}/conv_in", CONV)
        rules += norm(out, f"{half}/norm_out")
        rules += affine(f"{half}.conv_out", f"{half}/conv_out", CONV)
        middle = f"{half}.mid" if original else f"{half}.mid_block"
        for i in range(2):
            theirs = f"{middle}.block_{i + 1}" if original else f"{middle}.resnets.{i}"
            rules += blocks.residual(theirs, f"{half}/mid_res_{i}")
        attention = f"{middle}.attn_1" if original else f"{middle}.attentions.0"
        rules += blocks.attention(attention, f"{half}/mid_attn")
    levels = len(config.channels)
    for level in range(levels):
        for half, ours, theirs, change in (
            ("encoder", f"down_{level}", f"encoder.down_blocks.{level}", "downsample"),
            ("decoder", f"up_{level}", f"decoder.up_blocks.{levels - 1 - level}", "upsample"),
        ):
            if original:
                theirs = f"{half}.{ours.replace('_', '.')}"
            resnet = f"{theirs}.block.{{i}}" if original else f"{theirs}.resnets.{{i}}"
            rules += blocks.residual(resnet, f"{half}/{ours}_res_{{i}}")
            resampler = f"{theirs}.{change}.conv" if original else f"{theirs}.{change}rs.0.conv"
            rules += affine(resampler, f"{half}/{ours}_{change}/conv", CONV)
    kind = "latent diffusion's original" if original else "diffusers"
    return Table(f"{AUTOENCODER} of {kind}", tuple(rules))


def read_config(document: Mapping[str, Any]) -> AutoencoderConfig:
    """`config.json` of an `AutoencoderKL` -> `AutoencoderConfig`.

    Raises `WeightsError` for another class and an unsupported option, naming it.
    """
    check_class(document, AUTOENCODER)
    check_options(document, _FIXED)
    for name, wanted in (("down_block_types", _DOWN), ("up_block_types", _UP)):
        if other := [block for block in document.get(name, ()) if block != wanted]:
            raise WeightsError(f"config.json has {name} with '{other[0]}', expected '{wanted}'")
    return AutoencoderConfig(
        latent_channels=document.get("latent_channels", 4),
        channels=tuple(document.get("block_out_channels", (64,))),
        blocks=document.get("layers_per_block", 1),
        norm_groups=document.get("norm_num_groups", 32),
        middle_attention=bool(document.get("mid_block_add_attention", True)),
        scaling=float(document.get("scaling_factor") or _SD_SCALING),
        shift=float(document.get("shift_factor") or 0.0),
        wide_range=bool(document.get("force_upcast", True)),
    )


def write_config(config: AutoencoderConfig, image_size: int) -> dict[str, Any]:
    """The inverse of `read_config`.

    Raises `WeightsError` for an autoencoder that `read_config` cannot give.
    """
    levels = len(config.channels)
    document = {
        "_class_name": AUTOENCODER,
        **_FIXED,
        "sample_size": image_size,
        "latent_channels": config.latent_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks,
        "down_block_types": [_DOWN] * levels,
        "up_block_types": [_UP] * levels,
        "norm_num_groups": config.norm_groups,
        "mid_block_add_attention": config.middle_attention,
        "scaling_factor": config.scaling,
        "shift_factor": config.shift or None,
        "force_upcast": config.wide_range,
    }
    again = read_config(document)
    if other := sorted(n for n, value in vars(config).items() if getattr(again, n) != value):
        raise WeightsError(f"diffusers' {AUTOENCODER} cannot express its {', '.join(other)}")
    return document


def read_shapes(tensors: Mapping[str, np.ndarray], scaling: float) -> AutoencoderConfig:
    """The autoencoder of a file's tensors, which have the original's names (without a prefix).

    scaling: of the latents, which nothing in the file tells.

    Raises `WeightsError` that names what is missing.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in tensors or tensors[name].ndim != 4:
            raise WeightsError(f"the autoencoder lacks the convolution '{name}'")
        return tuple(tensors[name].shape)

    channels: list[int] = []
    while f"encoder.down.{len(channels)}.block.0.conv1.weight" in tensors:
        channels.append(shape(f"encoder.down.{len(channels)}.block.0.conv1.weight")[0])
    if not channels:
        shape("encoder.down.0.block.0.conv1.weight")
    blocks = 1
    while f"encoder.down.0.block.{blocks}.conv1.weight" in tensors:
        blocks += 1
    return AutoencoderConfig(
        latent_channels=shape("quant_conv.weight")[0] // 2,
        channels=tuple(channels),
        blocks=blocks,
        middle_attention="encoder.mid.attn_1.q.weight" in tensors,
        scaling=scaling,
        wide_range=True,
    )
