"""unCLIP's decoder in diffusers: Karlo's `UNet2DConditionModel` and `UnCLIPTextProjModel`.

Of the many networks that `UNet2DConditionModel` can be, this is the one whose attention sees the
context beside the pixels ("simple cross attention"); its tensors are named as those of
`UNet2DModel`, so `unet_diffusers.table` serves both.
"""

from collections.abc import Mapping
from typing import Any

from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.unet import UNetConfig
from clipdiff_jax.weights.documents import check_class, check_options
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import unet_diffusers
from clipdiff_jax.weights.tables import Rule, Table, affine, norm

UNET, CONDITIONING = "UNet2DConditionModel", "UnCLIPTextProjModel"

_DOWN = ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D")
_UP = ("ResnetUpsampleBlock2D", "SimpleCrossAttnUpBlock2D")
_FIXED: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
    "class_embed_type": "identity",
    "resnet_time_scale_shift": "scale_shift",
    "norm_eps": 1e-5,  # that of the attention's norms, which diffusers does not let one choose
    "act_fn": "silu",
    "center_input_sample": False,
    "mid_block_scale_factor": 1,
    "only_cross_attention": False,
    "mid_block_only_cross_attention": None,
    "cross_attention_norm": None,
    "encoder_hid_dim": None,
    "encoder_hid_dim_type": None,
    "addition_embed_type": None,
    "num_class_embeds": None,
    "class_embeddings_concat": False,
    "resnet_skip_time_act": False,
    "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional",
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
    "time_cond_proj_dim": None,
    "conv_in_kernel": 3,
    "conv_out_kernel": 3,
}
# Where diffusers' default is another network.
_DEFAULTS: dict[str, Any] = {
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "class_embed_type": None,
    "resnet_time_scale_shift": "default",
}

CONDITIONING_TABLE = Table(
    f"{CONDITIONING} of diffusers",
    (
        Rule("learned_classifier_free_guidance_embeddings", "null_embedding"),
        *affine("clip_image_embeddings_project_to_time_embeddings", "image_pooled"),
        *affine("embedding_proj", "text_pooled"),
        *affine("clip_extra_context_tokens_proj", "image_tokens"),
        *affine("encoder_hidden_states_proj", "hidden_in"),
        *norm("text_encoder_hidden_states_norm", "hidden_norm"),
    ),
)


def table(config: UNetConfig) -> Table:
    """The names of the decoder that `config` describes."""
    return unet_diffusers.table(config, f"{UNET} of diffusers")


def read_config(document: Mapping[str, Any]) -> UNetConfig:
    """`config.json` of a `UNet2DConditionModel` -> `UNetConfig`.

    Raises `WeightsError` for another class, an unsupported block type and an unsupported option,
    naming it.
    """
    check_class(document, UNET)
    fields = unet_diffusers.conditional_fields(document, _DOWN, _UP)
    check_options(document, _FIXED, _DEFAULTS)
    return UNetConfig(
        **fields,
        head_width=_one_number(document, "attention_head_dim", 8),
        norm_eps=_FIXED["norm_eps"],
        scale_shift=True,
        residual_resampling=True,
        downsample_padding="both",
        pooled_width=document.get("time_embedding_dim") or 4 * fields["channels"][0],
        pooled_projection=False,
        context_width=_one_number(document, "cross_attention_dim", 1280),
    )


def write_config(config: UNetConfig, image_size: int) -> dict[str, Any]:
    """The inverse of `read_config`.

    Raises `WeightsError` for a network that `read_config` cannot give.
    """
    kinds = [int(level in config.attention_levels) for level in range(len(config.channels))]
    document = {
        "_class_name": UNET,
        **_FIXED,
        "sample_size": image_size,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "block_out_channels": list(config.channels),
        "layers_per_block": config.blocks if isinstance(config.blocks, int) else [*config.blocks],
        "down_block_types": [_DOWN[kind] for kind in kinds],
        "up_block_types": [_UP[kind] for kind in reversed(kinds)],
        "attention_head_dim": config.head_width,
        "norm_num_groups": config.norm_groups,
        "time_embedding_dim": config.time_width,
        "flip_sin_to_cos": config.time_order == "cos_sin",
        "freq_shift": config.time_shift,
        "dropout": config.dropout,
        "cross_attention_dim": config.context_width,
    }
    again = read_config(document)
    names = vars(config).keys() - {"remat"}
    if other := sorted(n for n in names if getattr(again, n) != getattr(config, n)):
        raise WeightsError(f"diffusers' {UNET} cannot express this network's {', '.join(other)}")
    return document


def read_conditioning(document: Mapping[str, Any]) -> DecoderConditioningConfig:
    """`config.json` of a `UnCLIPTextProjModel` -> `DecoderConditioningConfig`.

    Raises `WeightsError` for another class and where a width is left out that has no default.
    """
    check_class(document, CONDITIONING)
    for name in ("time_embed_dim", "cross_attention_dim"):
        if name not in document:
            raise WeightsError(f"config.json lacks '{name}'")
    return DecoderConditioningConfig(
        embedding_width=document.get("clip_embeddings_dim", 768),
        pooled_width=document["time_embed_dim"],
        context_width=document["cross_attention_dim"],
        extra_tokens=document.get("clip_extra_context_tokens", 4),
    )


def write_conditioning(config: DecoderConditioningConfig) -> dict[str, Any]:
    """The inverse of `read_conditioning`; `WeightsError` for what diffusers lacks."""
    document = {
        "_class_name": CONDITIONING,
        "clip_embeddings_dim": config.embedding_width,
        "time_embed_dim": config.pooled_width,
        "cross_attention_dim": config.context_width,
        "clip_extra_context_tokens": config.extra_tokens,
    }
    if read_conditioning(document) != config:
        raise WeightsError(f"diffusers' {CONDITIONING} cannot express {config}")
    return document


def _one_number(document: Mapping[str, Any], name: str, default: int) -> int:
    value = document.get(name, default)
    if not isinstance(value, int):
        raise WeightsError(f"config.json has {name} {value!r}, supported is one number for all")
    return value
