"""A pixel diffusion model as a file of the original DDPM's names: CelebA-HQ's `.ckpt` and kin.

Ho et al. 2020, as ported to torch. There is no config file; the architecture is read off the names
and shapes, and the schedule is the paper's.
"""

import functools
import logging
from collections.abc import Mapping
from pathlib import Path

from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.documents import learns_variance, log_guess
from clipdiff_jax.weights.guided_flags import GuidedFlags
from clipdiff_jax.weights.layout import DiffusionWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.read import file_has, open_tensors
from clipdiff_jax.weights.tables import (
    CONV,
    POINTWISE,
    ConvertError,
    Rule,
    Shape,
    Table,
    affine,
    norm,
)

logger = logging.getLogger(__name__)

ATTENTION_SIZE = 16
MARK = "temb.dense.0.weight"  # a name that no other layout has


def residual(theirs: str, ours: str) -> list[Rule]:
    """The names of a `ResBlock`; those of parts that a network lacks are not looked for."""
    return [
        *norm(f"{theirs}.norm1", f"{ours}/norm_0"),
        *affine(f"{theirs}.conv1", f"{ours}/conv_0", CONV),
        *affine(f"{theirs}.temb_proj", f"{ours}/time"),
        *norm(f"{theirs}.norm2", f"{ours}/norm_1"),
        *affine(f"{theirs}.conv2", f"{ours}/conv_1", CONV),
        *affine(f"{theirs}.nin_shortcut", f"{ours}/shortcut", CONV),
    ]


def attention(theirs: str, ours: str) -> list[Rule]:
    """The names of an `AttentionBlock`, the same."""
    rules = norm(f"{theirs}.norm", f"{ours}/norm")
    for name, our_name in (("q", "q"), ("k", "k"), ("v", "v"), ("proj_out", "out")):
        rules += affine(f"{theirs}.{name}", f"{ours}/{our_name}", POINTWISE)
    return rules


TABLE = Table(
    "DDPM",
    (
        *affine("temb.dense.0", "embedding/time/dense_0"),
        *affine("temb.dense.1", "embedding/time/dense_1"),
        *affine("conv_in", "conv_in", CONV),
        *residual("down.{l}.block.{i}", "down_{l}_res_{i}"),
        *attention("down.{l}.attn.{i}", "down_{l}_attn_{i}"),
        *affine("down.{l}.downsample.conv", "down_{l}_downsample/conv", CONV),
        *residual("mid.block_1", "mid_res_0"),
        *attention("mid.attn_1", "mid_attn"),
        *residual("mid.block_2", "mid_res_1"),
        *residual("up.{l}.block.{i}", "up_{l}_res_{i}"),
        *attention("up.{l}.attn.{i}", "up_{l}_attn_{i}"),
        *affine("up.{l}.upsample.conv", "up_{l}_upsample/conv", CONV),
        *norm("norm_out", "norm_out"),
        *affine("conv_out", "conv_out", CONV),
    ),
)


def infer_config(shapes: Mapping[str, Shape], norm_groups: int = 32) -> UNetConfig:
    """The architecture from names and shapes; everything else is fixed in this family.

    No shape tells the groups of the norms: `norm_groups` is what the published models have.
    Raises `ConvertError` where the names are not DDPM's.
    """
    needed = (MARK, "conv_in.weight", "conv_out.weight", "norm_out.weight")
    lacking = [name for name in needed if name not in shapes]
    if lacking:
        raise ConvertError(f"not the names of a DDPM: no {', '.join(lacking)}")

    def has(name: str) -> bool:
        return f"{name}.weight" in shapes

    levels = 0
    while has(f"down.{levels}.block.0.conv1"):
        levels += 1
    blocks = 0
    while has(f"down.0.block.{blocks}.conv1"):
        blocks += 1
    if not levels:
        raise ConvertError("not the names of a DDPM: no down.0.block.0.conv1.weight")
    width = shapes[MARK][0]
    base = shapes["conv_in.weight"][0]
    return UNetConfig(
        in_channels=shapes["conv_in.weight"][1],
        out_channels=shapes["conv_out.weight"][0],
        channels=tuple(shapes[f"down.{level}.block.0.conv1.weight"][0] for level in range(levels)),
        blocks=blocks,
        attention_levels=tuple(lvl for lvl in range(levels) if has(f"down.{lvl}.attn.0.q")),
        middle_attention=has("mid.attn_1.q"),
        norm_groups=norm_groups,
        time_width=width if width != 4 * base else None,
    )


def infer_size(config: UNetConfig) -> int:
    """The side of the images in pixels: attention is at 16 x 16 in every published DDPM.

    Raises `ConvertError` for a network without attention, which no shape tells the size of.
    """
    if not config.attention_levels:
        raise ConvertError("no attention among the levels, so the image size cannot be told")
    return ATTENTION_SIZE * 2 ** config.attention_levels[0]


def _matches(path: Path) -> bool:
    return file_has(path, MARK)


def _read(path: Path, reading: Reading) -> DiffusionWeights:
    tensors = open_tensors(path, reading.part)
    unet = infer_config({name: array.shape for name, array in tensors.items()})
    flags = reading.flags or GuidedFlags()
    config = DiffusionConfig(
        unet,
        flags.image_size or infer_size(unet),
        flags.schedule,
        flags.prediction,
        learns_variance(unet, flags.channels, path),
        flags.time_scale,
    )
    if reading.flags is None:
        log_guess(logger, path, config)
    init = functools.partial(init_params, config)
    return DiffusionWeights(config, fill_params(TABLE, tensors, init, reading.param_dtype))


def _table(config: DiffusionConfig) -> Table:
    del config
    return TABLE


LAYOUT = Layout("ddpm", f"tensor '{MARK}'", _matches, _read, _table)
