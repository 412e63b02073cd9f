"""The names of guided-diffusion (Dhariwal & Nichol 2021, arXiv 2105.05233) and its descendants.

ADM's ImageNet and LSUN models, improved-diffusion, and the FFHQ and AFHQ models of ILVR and P2
weighting are all saved so. Theirs are flat lists of blocks, each a list of layers
(`output_blocks.2 = [residual, attention, upsampling]`); the table places each layer in our levels.

There is no config file; the architecture is read off the names and shapes. They tell neither how
attention splits its channels nor the noise schedule: those are flags of the training, see
`weights.guided_flags`.
"""

import itertools
import re
from collections.abc import Mapping

from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.tables import (
    CONV,
    POINTWISE_1D,
    SAME,
    ConvertError,
    Rule,
    Shape,
    Table,
    affine,
    norm,
)

COARSEST_SIZE = 8  # pixels per side at the last level
MARK = "time_embed.0.weight"  # a name that no other layout has
_FIRST = "input_blocks.0.0.weight"
_UPSAMPLER = re.compile(r"output_blocks\.(\d+)\.(?:\d+\.conv|[12]\.in_layers\.2)\.weight")
_INPUT = re.compile(r"input_blocks\.(\d+)\..+")
_OUTPUT = re.compile(r"output_blocks\.(\d+)\..+")


def _residual(theirs: str, ours: str) -> list[Rule]:
    return [
        *norm(f"{theirs}.in_layers.0", f"{ours}/norm_0"),
        *affine(f"{theirs}.in_layers.2", f"{ours}/conv_0", CONV),
        *affine(f"{theirs}.emb_layers.1", f"{ours}/time"),
        *norm(f"{theirs}.out_layers.0", f"{ours}/norm_1"),
        *affine(f"{theirs}.out_layers.3", f"{ours}/conv_1", CONV),
        *affine(f"{theirs}.skip_connection", f"{ours}/shortcut", CONV),
    ]


def _attention(theirs: str, ours: str, heads: int) -> list[Rule]:
    """`heads` is the number of groups of rows [q, k, v] that the fused tensor is made of.

    Decoders of this family (GLIDE's, Karlo's) have keys and values of their context fused as well.
    """
    fused = [
        Rule(f"{theirs}.{one}.{what}", tuple(f"{ours}/{p}/{name}" for p in parts), layout, heads)
        for one, parts in (("qkv", ("q", "k", "v")), ("encoder_kv", ("context_k", "context_v")))
        for what, name, layout in (("weight", "kernel", POINTWISE_1D), ("bias", "bias", SAME))
    ]
    return [
        *norm(f"{theirs}.norm", f"{ours}/norm"),
        *fused,
        *affine(f"{theirs}.proj_out", f"{ours}/out", POINTWISE_1D),
    ]


def table(config: UNetConfig, new_attention_order: bool = False) -> Table:
    """The names of the network that `config` describes.

    `new_attention_order` is the flag of that name the model was trained with: whether the rows of
    the fused `qkv` are all queries, then all keys, then all values, rather than head by head.
    """

    def attention(theirs: str, ours: str, level: int, there: bool) -> list[Rule]:
        if not there:
            return []
        channels = config.channels[level]
        groups = 1 if new_attention_order else config.heads_of(channels)
        return _attention(theirs, ours, groups)

    def resampler(theirs: str, ours: str, conv: str) -> list[Rule]:
        if config.residual_resampling:
            return _residual(theirs, ours)
        return affine(f"{theirs}.{conv}", f"{ours}/conv", CONV)

    rules = [
        *affine("time_embed.0", "embedding/time/dense_0"),
        *affine("time_embed.2", "embedding/time/dense_1"),
        Rule("label_emb.weight", "embedding/classes/embedding"),
        *affine("input_blocks.0.0", "conv_in", CONV),
        *_residual("middle_block.0", "mid_res_0"),
        *attention("middle_block.1", "mid_attn", -1, config.middle_attention),
        *_residual(f"middle_block.{2 if config.middle_attention else 1}", "mid_res_1"),
        *norm("out.0", "norm_out"),
        *affine("out.2", "conv_out", CONV),
    ]
    levels = list(enumerate(config.blocks_per_level))
    number = itertools.count(1)
    for level, blocks in levels:
        there = level in config.attention_levels
        for i in range(blocks):
            theirs = f"input_blocks.{next(number)}"
            rules += _residual(f"{theirs}.0", f"down_{level}_res_{i}")
            rules += attention(f"{theirs}.1", f"down_{level}_attn_{i}", level, there)
        if level < len(levels) - 1:
            rules += resampler(f"input_blocks.{next(number)}.0", f"down_{level}_downsample", "op")
    number = itertools.count()
    for level, blocks in reversed(levels):
        there = level in config.attention_levels
        for i in range(blocks + 1):
            theirs = f"output_blocks.{next(number)}"
            rules += _residual(f"{theirs}.0", f"up_{level}_res_{i}")
            rules += attention(f"{theirs}.1", f"up_{level}_attn_{i}", level, there)
        if level > 0:  # in the same block as the last residual block, after its attention if any
            place = 2 if there else 1
            rules += resampler(f"{theirs}.{place}", f"up_{level}_upsample", "conv")
    return Table("guided-diffusion", tuple(rules))


def infer_config(
    shapes: Mapping[str, Shape],
    *,
    head_width: int = 64,
    heads: int | None = None,
    norm_groups: int = 32,
) -> UNetConfig:
    """The architecture from names and shapes; everything else is fixed in this family.

    Args:
      shapes: of the tensors, by name.
      head_width: channels per attention head (their `num_head_channels`); not used with `heads`.
      heads: heads of every attention, whatever its width (their `num_heads`).
      norm_groups: of every GroupNorm; 32 in the published models.

    Raises `ConvertError` where the names are not guided-diffusion's, or its network resamples
    without weights (their `conv_resample=False`).
    """
    needed = ("time_embed.0.weight", _FIRST, "out.2.weight", "middle_block.0.in_layers.2.weight")
    lacking = [name for name in needed if name not in shapes]
    if lacking:
        raise ConvertError(f"not the names of guided-diffusion: no {', '.join(lacking)}")
    blocks = _blocks_per_level(shapes)
    starts = [1 + sum(blocks[:level]) + level for level in range(len(blocks))]
    firsts = [f"input_blocks.{start}" for start in starts]
    unknown = [name for name in firsts if f"{name}.0.in_layers.2.weight" not in shapes]
    if unknown or starts[-1] + blocks[-1] != _count(shapes, _INPUT):
        raise ConvertError(
            f"not the names of guided-diffusion: {_count(shapes, _INPUT)} input_blocks for levels "
            f"of {blocks} residual blocks, as the upsampling in output_blocks tells"
        )
    channels = tuple(shapes[f"{first}.0.in_layers.2.weight"][0] for first in firsts)
    time_width, sinusoid_width = shapes["time_embed.0.weight"]
    convolutional = f"input_blocks.{1 + blocks[0]}.0.op.weight" in shapes
    return UNetConfig(
        in_channels=shapes[_FIRST][1],
        out_channels=shapes["out.2.weight"][0],
        channels=channels,
        blocks=blocks[0] if len(set(blocks)) == 1 else blocks,
        attention_levels=tuple(
            level for level, first in enumerate(firsts) if f"{first}.1.qkv.weight" in shapes
        ),
        middle_attention="middle_block.1.qkv.weight" in shapes,
        head_width=None if heads else head_width,
        heads=heads,
        norm_groups=norm_groups,
        norm_eps=1e-5,
        sinusoid_width=sinusoid_width if sinusoid_width != channels[0] else None,
        time_width=time_width if time_width != 4 * channels[0] else None,
        time_order="cos_sin",
        time_shift=0.0,
        scale_shift=shapes[f"{firsts[0]}.0.emb_layers.1.weight"][0] == 2 * channels[0],
        residual_resampling=len(channels) > 1 and not convolutional,
        downsample_padding="both",
        num_classes=shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None,
    )


def infer_size(config: UNetConfig) -> int:
    """The side of the images in pixels: the last level is at 8 x 8 in nearly all published models.

    The exceptions are improved-diffusion's at 32 px (4 x 4) and ADM's 512 px upsampler (16 x 16).
    """
    return COARSEST_SIZE * 2 ** (len(config.channels) - 1)


def _blocks_per_level(shapes: Mapping[str, Shape]) -> tuple[int, ...]:
    """Residual blocks per level on the way down, finest first.

    On the way up a level has one more, and its last output block holds the upsampling too.
    """
    last = _count(shapes, _OUTPUT) - 1
    ends = sorted({int(match[1]) for match in map(_UPSAMPLER.fullmatch, shapes) if match} | {last})
    counts = [end - begin for begin, end in itertools.pairwise([-1, *ends])]
    return tuple(count - 1 for count in reversed(counts))


def _count(shapes: Mapping[str, Shape], block: re.Pattern[str]) -> int:
    return 1 + max((int(match[1]) for match in map(block.fullmatch, shapes) if match), default=-1)
