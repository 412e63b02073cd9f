"""diffusers' `UNet2DModel`: its `config.json` and its tensor names.

Covers the published pixel models in that layout (`google/ddpm-*`) and the super-resolution networks
of Karlo; the table serves Karlo's decoder as well (`decoder_diffusers.py`). Files written before
diffusers 0.14 name attention `query/key/value/proj_attn`; they are read too.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.documents import check_blocks, check_class, check_options
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.tables import CONV, LINEAR, Rule, Table, affine, norm

_DOWN = ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D")
_UP = ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D")

# Options whose other values no published pixel model uses; what is supported is the default too.
_FIXED: dict[str, Any] = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "class_embed_type": None,
    "act_fn": "silu",
}


def residual(theirs: str, ours: str) -> list[Rule]:
    """The names of a `ResBlock`; those of parts that a network lacks are not looked for."""
    return [
        *norm(f"{theirs}.norm1", f"{ours}/norm_0"),
        *affine(f"{theirs}.conv1", f"{ours}/conv_0", CONV),
        *affine(f"{theirs}.time_emb_proj", f"{ours}/time"),
        *norm(f"{theirs}.norm2", f"{ours}/norm_1"),
        *affine(f"{theirs}.conv2", f"{ours}/conv_1", CONV),
        # Their 1x1 convolution is one here too.
        *affine(f"{theirs}.conv_shortcut", f"{ours}/shortcut", CONV),
    ]


def attention(theirs: str, ours: str) -> list[Rule]:
    """The names of an `AttentionBlock`, the same."""
    rules = norm(f"{theirs}.group_norm", f"{ours}/norm")
    for new, old, name in (
        ("to_q", "query", "q"),
        ("to_k", "key", "k"),
        ("to_v", "value", "v"),
        ("to_out.0", "proj_attn", "out"),
    ):
        both = tuple(f"{theirs}.{which}.weight" for which in (new, old))
        rules.append(Rule(both, f"{ours}/{name}/kernel", LINEAR))
        both = tuple(f"{theirs}.{which}.bias" for which in (new, old))
        rules.append(Rule(both, f"{ours}/{name}/bias"))
    rules += affine(f"{theirs}.add_k_proj", f"{ours}/context_k")
    rules += affine(f"{theirs}.add_v_proj", f"{ours}/context_v")
    return rules


def table(config: UNetConfig, name: str = "UNet2DModel of diffusers") -> Table:
    """The names of the network that `config` describes; `name` is the layout's in messages."""
    rules = [
        *affine("time_embedding.linear_1", "embedding/time/dense_0"),
        *affine("time_embedding.linear_2", "embedding/time/dense_1"),
        Rule("class_embedding.weight", "embedding/classes/embedding"),
        *affine("conv_in", "conv_in", CONV),
        *residual("mid_block.resnets.{i}", "mid_res_{i}"),
        *attention("mid_block.attentions.0", "mid_attn"),
        *norm("conv_norm_out", "norm_out"),
        *affine("conv_out", "conv_out", CONV),
    ]
    levels = len(config.channels)
    for level in range(levels):
        for ours, theirs, change in (
            (f"down_{level}", f"down_blocks.{level}", "downsample"),
            (f"up_{level}", f"up_blocks.{levels - 1 - level}", "upsample"),
        ):
            rules += residual(f"{theirs}.resnets.{{i}}", f"{ours}_res_{{i}}")
            rules += attention(f"{theirs}.attentions.{{i}}", f"{ours}_attn_{{i}}")
            resampler, name = f"{theirs}.{change}rs.0", f"{ours}_{change}"
            if config.residual_resampling:
                rules += residual(resampler, name)
            else:
                rules += affine(f"{resampler}.conv", f"{name}/conv", CONV)
    return Table(name, tuple(rules))


def read_config(document: Mapping[str, Any]) -> UNetConfig:
    """`config.json` of a `UNet2DModel` -> `UNetConfig`.

    Raises `WeightsError` for another class, an unsupported block type and an unsupported option,
    naming it.
    """
    check_class(document, "UNet2DModel")
    if document.get("act_fn") == "swish":  # another word for it
        document = {**document, "act_fn": "silu"}
    check_options(document, _FIXED)
    down = document.get("down_block_types", ("DownBlock2D", *3 * ("AttnDownBlock2D",)))
    up = document.get("up_block_types", (*3 * ("AttnUpBlock2D",), "UpBlock2D"))
    check_blocks(down, up, _DOWN, _UP)
    channels = tuple(document.get("block_out_channels", (224, 448, 672, 896)))
    order: Literal["sin_cos", "cos_sin"]
    order = "cos_sin" if document.get("flip_sin_to_cos", True) else "sin_cos"
    scale_shift = document.get("resnet_time_scale_shift", "default")
    if scale_shift not in ("default", "scale_shift"):
        raise WeightsError(f"config.json has resnet_time_scale_shift {scale_shift!r}")
    groups, width = document.get("norm_num_groups", 32), document.get("time_embedding_dim")
    # With scale-shift norms diffusers leaves the middle attention without one unless told.
    attention_groups = document.get("attn_norm_num_groups")
    if attention_groups is None and scale_shift == "default":
        attention_groups = groups
    if document.get("add_attention", True) and attention_groups != groups:
        raise WeightsError(
            f"config.json has attn_norm_num_groups {document.get('attn_norm_num_groups')!r}, "
            f"supported is {groups}, as elsewhere in the network"
        )
    return UNetConfig(
        in_channels=document.get("in_channels", 3),
        out_channels=document.get("out_channels", 3),
        channels=channels,
        blocks=document.get("layers_per_block", 2),
        attention_levels=tuple(i for i, block in enumerate(down) if block == _DOWN[1]),
        middle_attention=document.get("add_attention", True),
        head_width=document.get("attention_head_dim", 8),
        norm_groups=groups,
        norm_eps=document.get("norm_eps", 1e-5),
        time_width=width if width != 4 * channels[0] else None,
        time_order=order,
        time_shift=float(document.get("freq_shift", 0)),
        scale_shift=scale_shift == "scale_shift",
        residual_resampling=_resampling(document, down),
        downsample_padding="both" if document.get("downsample_padding", 1) else "right",
        dropout=document.get("dropout", 0.0),
        num_classes=document.get("num_class_embeds"),
    )


def write_config(config: UNetConfig, image_size: int) -> dict[str, Any]:
    """The inverse of `read_config`.

    Raises `WeightsError` for a network that diffusers' class cannot be: one with patches, an input
    skip, conditioning vectors, levels of different depths, heads of different widths, or a sinusoid
    as wide as no level.
    """
    attended = {config.channels[level] for level in config.attention_levels}
    attended |= {config.channels[-1]} if config.middle_attention else set()
    head_widths = {channels // config.heads_of(channels) for channels in attended}
    head_width = head_widths.pop() if config.heads and len(head_widths) == 1 else config.head_width
    foreign = {
        "patch": config.patch != 1,
        "input_skip": config.input_skip,
        "pooled_width": config.pooled_width is not None,
        "context_width": config.context_width is not None,
        "blocks": len(set(config.blocks_per_level)) > 1,
        "heads": config.heads is not None and head_width is None,
        "sinusoid_width": config.sinusoid_width not in (None, config.channels[0]),
    }
    if any(foreign.values()):
        names = ", ".join(name for name, is_foreign in foreign.items() if is_foreign)
        raise WeightsError(f"diffusers' UNet2DModel cannot express this network's {names}")
    resampling = "resnet" if config.residual_resampling else "conv"
    plain = 2 if config.residual_resampling else 0
    levels = range(len(config.channels))
    kinds = [1 if level in config.attention_levels else plain for level in levels]
    document = {
        "_class_name": "UNet2DModel",
        "sample_size": image_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "freq_shift": config.time_shift,
        "flip_sin_to_cos": config.time_order == "cos_sin",
        "time_embedding_dim": config.time_width,
        "down_block_types": [_DOWN[kind] for kind in kinds],
        "up_block_types": [_UP[kind] for kind in reversed(kinds)],
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks_per_level[0],
        "downsample_padding": 1 if config.downsample_padding == "both" else 0,
        "downsample_type": resampling,
        "upsample_type": resampling,
        "dropout": config.dropout,
        "attention_head_dim": head_width,
        "norm_num_groups": config.norm_groups,
        "attn_norm_num_groups": config.norm_groups,
        "norm_eps": config.norm_eps,
        "resnet_time_scale_shift": "scale_shift" if config.scale_shift else "default",
        "add_attention": config.middle_attention,
        "num_class_embeds": config.num_classes,
    }
    # Heads were compared above; they come back as a width.
    again, compared = read_config(document), vars(config).keys() - {"heads", "head_width", "remat"}
    if other := sorted(n for n in compared if getattr(again, n) != getattr(config, n)):
        raise WeightsError(
            f"diffusers' UNet2DModel cannot express this network's {', '.join(other)}"
        )
    return document


def _resampling(document: Mapping[str, Any], down: Any) -> bool:
    """Whether all of the levels resample inside residual blocks (True) or none."""
    attention = document.get("downsample_type", "conv")
    if attention not in ("conv", "resnet") or document.get("upsample_type", "conv") != attention:
        raise WeightsError(
            f"config.json has downsample_type {attention!r} and upsample_type "
            f"{document.get('upsample_type')!r}, expected 'conv' or 'resnet' for both"
        )
    # The last level does not resample, so its type says nothing about it.
    residual = {_DOWN[0]: False, _DOWN[1]: attention == "resnet", _DOWN[2]: True}
    found = {residual[block] for block in list(down)[:-1]}
    if len(found) > 1:
        raise WeightsError(f"the blocks {list(down)} resample in two ways, which is not supported")
    return found.pop() if found else False


def conditional_fields(
    document: Mapping[str, Any], known_down: Sequence[str], known_up: Sequence[str]
) -> dict[str, Any]:
    """The fields of `UNetConfig` that mean the same in every `UNet2DConditionModel` we read.

    known_down, known_up: block types of the network at hand, without attention and with it. Raises
    `WeightsError` for other ones.
    """
    down = document.get("down_block_types", (*3 * ("CrossAttnDownBlock2D",), "DownBlock2D"))
    up = document.get("up_block_types", ("UpBlock2D", *3 * ("CrossAttnUpBlock2D",)))
    check_blocks(down, up, known_down, known_up)
    channels = tuple(document.get("block_out_channels", (320, 640, 1280, 1280)))
    blocks, width = document.get("layers_per_block", 2), document.get("time_embedding_dim")
    return {
        "in_channels": document.get("in_channels", 4),
        "out_channels": document.get("out_channels", 4),
        "channels": channels,
        "blocks": blocks if isinstance(blocks, int) else tuple(blocks),
        "attention_levels": tuple(i for i, block in enumerate(down) if block == known_down[1]),
        "norm_groups": document.get("norm_num_groups", 32),
        "time_width": width if width != 4 * channels[0] else None,
        "time_order": "cos_sin" if document.get("flip_sin_to_cos", True) else "sin_cos",
        "time_shift": float(document.get("freq_shift", 0)),
        "dropout": document.get("dropout", 0.0),
    }
