"""OpenCLIP's own layout: `open_clip_config.json` beside weights with OpenAI's tensor names.

The config says what OpenAI's files leave to be inferred: heads, activation, preprocessing. Both of
OpenAI's image towers are covered, and the text transformer; of OpenCLIP's many variations of them
(other trunks, other poolings, layer scale), those that change the numbers are refused by name.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.clip import (
    LEGACY_EOS_TOKEN_ID,
    CLIPConfig,
    TextConfig,
    VisionTransformerConfig,
    init_params,
)
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.transformer import Activation
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import read_config as read_json
from clipdiff_jax.weights.layout import ClipWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.layouts import clip_openai
from clipdiff_jax.weights.read import open_tensors

CONFIG = "open_clip_config.json"
_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

# The options that are read, and those that must have one value (which is their default too). Any
# other option is refused unless it is off: it would name a network that is not the paper's.
_READ = {
    "model_cfg": ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "init_logit_scale"),
    "vision_cfg": ("image_size", "layers", "width", "head_width", "mlp_ratio", "patch_size"),
    "text_cfg": ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"),
    "preprocess_cfg": ("mean", "std", "size"),
}
_FIXED: dict[str, dict[str, Any]] = {
    "vision_cfg": {"pool_type": "tok", "pos_embed_type": "learnable"},
    "text_cfg": {"pool_type": "argmax", "proj_type": "linear"},
    "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest", "mode": "RGB"},
}
# What matters only in training, or to OpenCLIP's own tokenizer and its padding.
_IDLE = {
    "model_cfg": ("output_dict", "cast_dtype", "init_logit_bias"),
    "vision_cfg": ("patch_dropout", "output_tokens"),
    "text_cfg": ("pad_id", "eos_id", "hf_tokenizer_name", "tokenizer_kwargs", "output_tokens"),
    "preprocess_cfg": ("fill_color",),
}


def find_weights(folder: Path) -> Path | None:
    """The weight file of a folder in this layout; None where it is not in this layout."""
    if not (folder / CONFIG).is_file():
        return None
    return next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)


def read_config(document: Mapping[str, Any]) -> CLIPConfig:
    """`open_clip_config.json` -> `CLIPConfig`. Texts are pooled at their largest id.

    Raises `WeightsError` for an option that changes the network into one that this library lacks.
    """
    model = _section(document, "model_cfg")
    vision, text = _section(model, "vision_cfg"), _section(model, "text_cfg")
    preprocess = _section(document, "preprocess_cfg", required=False)
    activation: Activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
    size, width = vision.get("image_size", 224), vision.get("width", 768)
    layers, head_width = vision.get("layers", 12), vision.get("head_width", 64)
    tower: VisionTransformerConfig | ModifiedResNetConfig
    if isinstance(layers, list):
        channels = width * 4 * 2 ** (len(layers) - 1)
        tower = ModifiedResNetConfig(size, width, tuple(layers), heads=channels // head_width)
    else:
        tower = VisionTransformerConfig(
            image_size=size,
            patch_size=vision.get("patch_size", 16),
            width=width,
            depth=layers,
            heads=width // head_width,
            mlp_width=int(width * vision.get("mlp_ratio", 4.0)),
            activation=activation,
        )
    found = preprocess.get("size", size)
    if found not in (size, [size, size]):
        raise WeightsError(f"{CONFIG} has preprocess_cfg.size {found}, expected {size}")
    text_width, defaults = text.get("width", 512), CLIPConfig()
    return CLIPConfig(
        tower,
        TextConfig(
            vocab_size=text.get("vocab_size", 49408),
            context_length=text.get("context_length", 77),
            width=text_width,
            depth=text.get("layers", 12),
            heads=text.get("heads", 8),
            mlp_width=int(text_width * text.get("mlp_ratio", 4.0)),
            activation=activation,
            eos_token_id=LEGACY_EOS_TOKEN_ID,
        ),
        projection_dim=model["embed_dim"],
        logit_scale_init=model.get("init_logit_scale", defaults.logit_scale_init),
        image_mean=tuple(preprocess.get("mean", defaults.image_mean)),
        image_std=tuple(preprocess.get("std", defaults.image_std)),
    )


def _section(document: Mapping[str, Any], name: str, required: bool = True) -> Mapping[str, Any]:
    """One part of the config, whose every option is known or off."""
    if required and name not in document:
        raise WeightsError(f"{CONFIG} has no {name}.{nearest(name, document)}")
    section: Mapping[str, Any] = document.get(name, {})
    fixed = _FIXED.get(name, {})
    for option, value in section.items():
        if option in (*_READ[name], *_IDLE[name]) or value in (None, False, fixed.get(option)):
            continue
        wanted = f"expected {fixed[option]!r}" if option in fixed else "which is not supported."
        hint = "" if option in fixed else nearest(option, (*_READ[name], *fixed))
        raise WeightsError(f"{CONFIG} has {name}.{option} {value!r}, {wanted}{hint}")
    if name == "model_cfg" and "embed_dim" not in section:
        raise WeightsError(f"{CONFIG} has no model_cfg.embed_dim")
    return section


def _matches(path: Path) -> bool:
    return find_weights(path) is not None


def _read(path: Path, reading: Reading) -> ClipWeights:
    config, file = read_config(read_json(path, CONFIG)), find_weights(path)
    assert file is not None
    table, init = clip_openai.table(config), functools.partial(init_params, config)
    params = fill_params(table, open_tensors(file), init, reading.param_dtype)
    tokenizer = reading.tokenizer or load_tokenizer(path, config.text.context_length)
    return ClipWeights(config, params, tokenizer)


LAYOUT = Layout("openclip", f"'{CONFIG}' beside weights", _matches, _read, clip_openai.table)
