"""The UNet of latent diffusion under its two sets of names: diffusers' and the original's.

diffusers' `UNet2DConditionModel` numbers levels from the end that a half of the network begins at.
The original (Rombach et al. 2022, CompVis) numbers the blocks of each half in a row; inside a
spatial transformer its names are diffusers'. What a file of the original names holds is read off
its shapes, see `latent_unet_shapes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from clipdiff_jax.models.unet_config import UNetConfig
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import unet_diffusers
from clipdiff_jax.weights.tables import CONV, LINEAR, POINTWISE, Rule, Table, affine, norm

UNET = "UNet2DConditionModel"
Naming = Literal["diffusers", "original"]

_DOWN = ("DownBlock2D", "CrossAttnDownBlock2D")
_UP = ("UpBlock2D", "CrossAttnUpBlock2D")
_FIXED: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "class_embed_type": None,
    "num_class_embeds": None,
    "class_embeddings_concat": False,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "time_cond_proj_dim": None,
    "attention_type": "default",
    "dual_cross_attention": False,
    "only_cross_attention": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "reverse_transformer_layers_per_block": None,
    "num_attention_heads": None,
    "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "mid_block_scale_factor": 1,
    "act_fn": "silu",
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}
_RESIDUAL = {
    "diffusers": ("norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut"),
    "original": (
        "in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3",
        "skip_connection",
    ),
}  # fmt: skip
_ENDS = {
    "diffusers": (
        "time_embedding.linear_1", "time_embedding.linear_2", "add_embedding.linear_1",
        "add_embedding.linear_2", "conv_in", "conv_norm_out", "conv_out",
    ),
    "original": (
        "time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "input_blocks.0.0",
        "out.0", "out.2",
    ),
}  # fmt: skip


class _Module(NamedTuple):
    """A block of ours and what it is called in either naming."""

    kind: Literal["residual", "transformer", "resampler"]
    ours: str
    diffusers: str
    original: str


def table(config: UNetConfig, naming: Naming) -> Table:
    """The names of the network that `config` describes."""
    time_0, time_1, added_0, added_1, conv_in, norm_out, conv_out = _ENDS[naming]
    rules = [
        *affine(time_0, "embedding/time/dense_0"),
        *affine(time_1, "embedding/time/dense_1"),
        *affine(added_0, "embedding/added_0"),
        *affine(added_1, "embedding/added_1"),
        *affine(conv_in, "conv_in", CONV),
        *norm(norm_out, "norm_out"),
        *affine(conv_out, "conv_out", CONV),
    ]
    for module in _modules(config):
        theirs = module.diffusers if naming == "diffusers" else module.original
        if module.kind == "residual":
            rules += _residual(theirs, module.ours, naming)
        elif module.kind == "transformer":
            rules += _transformer(theirs, module.ours, config.linear_projection)
        else:
            rules += affine(theirs, f"{module.ours}/conv", CONV)
    name = f"{UNET} of diffusers" if naming == "diffusers" else "latent diffusion's original UNet"
    return Table(name, tuple(rules))


def _modules(config: UNetConfig) -> Iterator[_Module]:
    """All blocks. The original counts a half's blocks through; a resampler on the way down is one
    of them, and on the way up the last part of the block before it."""
    levels, at = len(config.channels), 1
    for level, blocks in enumerate(config.blocks_per_level):
        theirs, attended = f"down_blocks.{level}", level in config.attention_levels
        for i in range(blocks):
            ours = f"down_{level}_{{}}_{i}"
            yield from _pair(ours, f"{theirs}.{{}}.{i}", f"input_blocks.{at}.{{}}", attended)
            at += 1
        if level < levels - 1:
            ours, place = f"down_{level}_downsample", f"input_blocks.{at}.0.op"
            yield _Module("resampler", ours, f"{theirs}.downsamplers.0.conv", place)
            at += 1
    for i in range(2):
        yield _Module("residual", f"mid_res_{i}", f"mid_block.resnets.{i}", f"middle_block.{2 * i}")
    yield _Module("transformer", "mid_attn", "mid_block.attentions.0", "middle_block.1")
    at = 0
    for level, blocks in reversed(list(enumerate(config.blocks_per_level))):
        theirs, attended = f"up_blocks.{levels - 1 - level}", level in config.attention_levels
        for i in range(blocks + 1):
            ours = f"up_{level}_{{}}_{i}"
            yield from _pair(ours, f"{theirs}.{{}}.{i}", f"output_blocks.{at}.{{}}", attended)
            if i == blocks and level > 0:
                ours, place = f"up_{level}_upsample", f"output_blocks.{at}.{1 + attended}.conv"
                yield _Module("resampler", ours, f"{theirs}.upsamplers.0.conv", place)
            at += 1


def _pair(ours: str, diffusers: str, original: str, attended: bool) -> Iterator[_Module]:
    """A residual block, and where the level is attended a transformer after it."""
    yield _Module("residual", ours.format("res"), diffusers.format("resnets"), original.format(0))
    if attended:
        yield _Module(
            "transformer", ours.format("attn"), diffusers.format("attentions"), original.format(1)
        )


def _residual(theirs: str, ours: str, naming: Naming) -> list[Rule]:
    norm_0, conv_0, time, norm_1, conv_1, shortcut = (
        f"{theirs}.{name}" for name in _RESIDUAL[naming]
    )
    return [
        *norm(norm_0, f"{ours}/norm_0"),
        *affine(conv_0, f"{ours}/conv_0", CONV),
        *affine(time, f"{ours}/time"),
        *norm(norm_1, f"{ours}/norm_1"),
        *affine(conv_1, f"{ours}/conv_1", CONV),
        *affine(shortcut, f"{ours}/shortcut", CONV),
    ]


def _transformer(theirs: str, ours: str, linear: bool) -> list[Rule]:
    axes = LINEAR if linear else POINTWISE
    block, stacked = f"{theirs}.transformer_blocks.{{d}}", f"{ours}/blocks"
    rules = [
        *norm(f"{theirs}.norm", f"{ours}/norm"),
        *affine(f"{theirs}.proj_in", f"{ours}/proj_in", axes),
        *affine(f"{theirs}.proj_out", f"{ours}/proj_out", axes),
        *affine(f"{block}.ff.net.0.proj", f"{stacked}/mlp_up"),
        *affine(f"{block}.ff.net.2", f"{stacked}/mlp_down"),
    ]
    for i in range(3):
        rules += norm(f"{block}.norm{i + 1}", f"{stacked}/norm_{i}")
    for their_name, our_name in (("attn1", "self"), ("attn2", "cross")):
        for part in "qkv":
            kernel = f"{stacked}/{our_name}_{part}/kernel"
            rules.append(Rule(f"{block}.{their_name}.to_{part}.weight", kernel, LINEAR))
        rules += affine(f"{block}.{their_name}.to_out.0", f"{stacked}/{our_name}_out")
    return rules


def read_config(document: Mapping[str, Any], pooled_width: int | None) -> UNetConfig:
    """`config.json` of a `UNet2DConditionModel` -> `UNetConfig`.

    pooled_width: of the text tower whose pooled embedding the network is given, where it is.

    In this class `attention_head_dim` is the number of heads, whatever it is called. Raises
    `WeightsError` for another class, an unsupported block type and an unsupported option, naming
    it.
    """
    check_class(document, UNET)
    if document.get("act_fn") == "swish":  # another word for it
        document = {**document, "act_fn": "silu"}
    if not any(_each(document.get("only_cross_attention", False))):  # one for all, or for each
        document = {**document, "only_cross_attention": False}
    fields = unet_diffusers.conditional_fields(document, _DOWN, _UP)
    check_options(document, _FIXED)
    numbers, numbers_width = _added(document, pooled_width)
    return UNetConfig(
        **fields,
        heads=_per_level(document, "attention_head_dim", 8),
        norm_eps=document.get("norm_eps", 1e-5),
        downsample_padding="both" if document.get("downsample_padding", 1) else "right",
        pooled_width=None if numbers is None else pooled_width,
        context_width=_context_width(document),
        attention="cross",
        linear_projection=bool(document.get("use_linear_projection", False)),
        transformer_depth=_per_level(document, "transformer_layers_per_block", 1),
        time_ids=numbers,
        time_ids_width=numbers_width,
    )


def write_config(config: UNetConfig, latent_size: int) -> dict[str, Any]:
    """The inverse of `read_config`.

    Raises `WeightsError` for a network that `read_config` cannot give.
    """
    kinds = [int(level in config.attention_levels) for level in range(len(config.channels))]
    tuples = lambda value: list(value) if isinstance(value, tuple) else value
    document = {
        "_class_name": UNET,
        **_FIXED,
        "sample_size": latent_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": tuples(config.blocks),
        "down_block_types": [_DOWN[kind] for kind in kinds],
        "up_block_types": [_UP[kind] for kind in reversed(kinds)],
        "attention_head_dim": tuples(_written_heads(config)),
        "norm_num_groups": config.norm_groups,
        "norm_eps": config.norm_eps,
        "time_embedding_dim": config.time_width,
        "flip_sin_to_cos": config.time_order == "cos_sin",
        "freq_shift": int(config.time_shift),
        "downsample_padding": int(config.downsample_padding == "both"),
        "dropout": config.dropout,
        "cross_attention_dim": config.context_width,
        "use_linear_projection": config.linear_projection,
        "transformer_layers_per_block": tuples(config.transformer_depth),
    }
    if config.time_ids is not None and config.pooled_width is not None:
        document |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": config.time_ids_width,
            "projection_class_embeddings_input_dim": config.pooled_width
            + config.time_ids * config.time_ids_width,
        }
    again = read_config(document, config.pooled_width)
    compared = vars(config).keys() - {"heads", "head_width", "remat"}
    if other := sorted(n for n in compared if getattr(again, n) != getattr(config, n)):
        raise WeightsError(f"diffusers' {UNET} cannot express this network's {', '.join(other)}")
    return document


def _written_heads(config: UNetConfig) -> int | tuple[int, ...]:
    """Heads of each level, also where they are given by their width."""
    if config.heads is not None:
        return config.heads
    used = [*config.attention_levels, len(config.channels) - 1]
    return tuple(
        config.heads_of(channels, level) if level in used else 1
        for level, channels in enumerate(config.channels)
    )


def _added(document: Mapping[str, Any], pooled_width: int | None) -> tuple[int | None, int]:
    """How many numbers enter beside the pooled vector, and the width of their sinusoids."""
    kind = document.get("addition_embed_type")
    width: Any = document.get("addition_time_embed_dim")
    if kind is None:
        return None, 256
    if kind != "text_time":
        raise WeightsError(
            f"config.json has addition_embed_type {kind!r}, expected None or 'text_time'"
        )
    taken: Any = document.get("projection_class_embeddings_input_dim")
    numbers = [taken, width, pooled_width]
    if all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
        rest: int = taken - (pooled_width or 0)
        if rest > 0 and rest % width == 0:
            return rest // width, width
    raise WeightsError(
        f"config.json has projection_class_embeddings_input_dim {taken!r} and "
        f"addition_time_embed_dim {width!r}, expected the pooled embedding's width "
        f"({pooled_width}) and a multiple of the latter together"
    )


def _each(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _context_width(document: Mapping[str, Any]) -> int:
    width = document.get("cross_attention_dim", 1280)
    found = set(_each(width))
    if len(found) != 1 or not isinstance(one := found.pop(), int):
        raise WeightsError(f"config.json has cross_attention_dim {width!r}, expected one number")
    return one


def _per_level(document: Mapping[str, Any], name: str, default: int) -> int | tuple[int, ...]:
    """A number for all levels, or one for each; lists of lists (asymmetric ones) are refused."""
    value = document.get(name, default)
    if not all(isinstance(one, int) and one > 0 for one in _each(value)):
        raise WeightsError(f"config.json has {name} {value!r}, expected numbers above 0")
    return tuple(value) if isinstance(value, list | tuple) else value
