"""transformers' `CLIPModel`: its `config.json` and its tensor names.

Covers OpenAI's vision-transformer CLIPs and the OpenCLIP models published in that layout.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import json_bytes
from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig, init_params
from clipdiff_jax.models.transformer import Activation
from clipdiff_jax.weights.documents import named
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.folder import CONFIG_NAME, WEIGHTS_NAME, write_folder
from clipdiff_jax.weights.folder import read_config as read_json
from clipdiff_jax.weights.layout import ClipWeights, Layout, Reading, fill_params
from clipdiff_jax.weights.layouts.image_processor import (
    PREPROCESSOR,
    Normalisation,
    find_normalisation,
    read_processor,
    write_processor,
)
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import CONV, LINEAR, Rule, Table, export_params, norm

# transformers' name -> ours
_ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
}
_WORDS = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}


def _tower(theirs: str, ours: str) -> list[Rule]:
    """The rules of one transformer's blocks."""
    layer, block = f"{theirs}.encoder.layers.{{i}}", f"{ours}/transformer/blocks"
    rules = []
    for their_name, our_name in (
        ("self_attn.q_proj", "attention/query"),
        ("self_attn.k_proj", "attention/key"),
        ("self_attn.v_proj", "attention/value"),
        ("self_attn.out_proj", "attention/out"),
        ("mlp.fc1", "mlp_up"),
        ("mlp.fc2", "mlp_down"),
    ):
        rules.append(Rule(f"{layer}.{their_name}.weight", f"{block}/{our_name}/kernel", LINEAR))
        rules.append(Rule(f"{layer}.{their_name}.bias", f"{block}/{our_name}/bias"))
    for their_name, our_name in (("layer_norm1", "norm1"), ("layer_norm2", "norm2")):
        rules += norm(f"{layer}.{their_name}", f"{block}/{our_name}")
    return rules


TABLE = Table(
    "CLIP of transformers",
    (
        Rule("logit_scale", "logit_scale"),
        Rule("vision_model.embeddings.class_embedding", "vision/class_embedding"),
        Rule(
            "vision_model.embeddings.patch_embedding.weight", "vision/patch_embedding/kernel", CONV
        ),
        Rule("vision_model.embeddings.position_embedding.weight", "vision/position_embedding"),
        *norm("vision_model.pre_layrnorm", "vision/pre_norm"),
        *_tower("vision_model", "vision"),
        *norm("vision_model.post_layernorm", "vision/post_norm"),
        Rule("visual_projection.weight", "vision/projection/kernel", LINEAR),
        Rule("text_model.embeddings.token_embedding.weight", "text/token_embedding/embedding"),
        Rule("text_model.embeddings.position_embedding.weight", "text/position_embedding"),
        *_tower("text_model", "text"),
        *norm("text_model.final_layer_norm", "text/final_norm"),
        Rule("text_projection.weight", "text/projection/kernel", LINEAR),
    ),
    ignored=("vision_model.embeddings.position_ids", "text_model.embeddings.position_ids"),
)


def _alone(tower: str, name: str) -> Table:
    """The table of one tower, whose names have the prefix `tower`, or, as transformers 5 saves a
    `CLIPTextModel`, none."""
    prefix = f"{tower}."

    def both(theirs: str) -> str | tuple[str, str]:
        return (theirs, theirs.removeprefix(prefix)) if theirs.startswith(prefix) else theirs

    rules = [(rule, rule.their_patterns[0]) for rule in TABLE.rules]
    return Table(
        name,
        tuple(replace(rule, theirs=both(theirs)) for rule, theirs in rules),
        ignored=(*TABLE.ignored, "embeddings.position_ids"),
    )


TEXT_TABLE = _alone("text_model", "CLIPTextModel of transformers")
VISION_TABLE = _alone("vision_model", "CLIPVisionModel of transformers")


def read_config(
    config: Mapping[str, Any], preprocessor: Mapping[str, Any] | None = None
) -> CLIPConfig:
    """`config.json` (and `preprocessor_config.json`) of a transformers CLIP -> `CLIPConfig`.

    Raises `WeightsError` for another model type and for options that CLIP does not have.
    """
    kind = config.get("model_type")
    if kind != "clip":
        raise WeightsError(f"config.json is of model_type {kind!r}, expected 'clip'")
    vision, text = _tower_config(config, "vision_config"), _tower_config(config, "text_config")
    image_tower, defaults = read_vision(vision), CLIPConfig()
    normalisation = read_processor(preprocessor or {}, image_tower.image_size)
    return CLIPConfig(
        image_tower,
        read_text(text),
        projection_dim=config.get("projection_dim", 512),
        logit_scale_init=config.get("logit_scale_init_value", defaults.logit_scale_init),
        image_mean=normalisation.mean,
        image_std=normalisation.std,
    )


def read_vision(vision: Mapping[str, Any]) -> VisionTransformerConfig:
    """The `vision_config` of a CLIP, or the `config.json` of its image tower alone."""
    return VisionTransformerConfig(
        image_size=_square(vision, "image_size", 224),
        patch_size=_square(vision, "patch_size", 32),
        width=vision.get("hidden_size", 768),
        depth=vision.get("num_hidden_layers", 12),
        heads=vision.get("num_attention_heads", 12),
        mlp_width=vision.get("intermediate_size", 3072),
        activation=_activation(vision),
        eps=vision.get("layer_norm_eps", 1e-5),
    )


def read_text(text: Mapping[str, Any]) -> TextConfig:
    """The `text_config` of a CLIP, or the `config.json` of its text tower alone."""
    return TextConfig(
        vocab_size=text.get("vocab_size", 49408),
        context_length=text.get("max_position_embeddings", 77),
        width=text.get("hidden_size", 512),
        depth=text.get("num_hidden_layers", 12),
        heads=text.get("num_attention_heads", 8),
        mlp_width=text.get("intermediate_size", 2048),
        activation=_activation(text),
        eps=text.get("layer_norm_eps", 1e-5),
        eos_token_id=_end_of_text(text),
    )


def write_config(config: CLIPConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inverse of `read_config` -> (config.json, preprocessor_config.json).

    Raises `WeightsError` for the convolutional tower, which transformers' CLIP does not have.
    """
    vision, text = config.vision, config.text
    if not isinstance(vision, VisionTransformerConfig):
        raise WeightsError(f"transformers' CLIP has no {type(vision).__name__} tower")

    document = {
        "model_type": "clip",
        "architectures": ["CLIPModel"],
        "projection_dim": config.projection_dim,
        "logit_scale_init_value": config.logit_scale_init,
        "vision_config": _write_tower(vision)
        | {
            "projection_dim": config.projection_dim,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        "text_config": write_text(text) | {"projection_dim": config.projection_dim},
    }
    normalisation = Normalisation(config.image_mean, config.image_std)
    return document, write_processor(vision.image_size, normalisation)


def write_text(text: TextConfig) -> dict[str, Any]:
    """The inverse of `read_text`."""
    return _write_tower(text) | {
        "vocab_size": text.vocab_size,
        "max_position_embeddings": text.context_length,
        "eos_token_id": text.eos_token_id,
    }


def _write_tower(tower: VisionTransformerConfig | TextConfig) -> dict[str, Any]:
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": tower.depth,
        "num_attention_heads": tower.heads,
        "intermediate_size": tower.mlp_width,
        "hidden_act": _WORDS[tower.activation],
        "layer_norm_eps": tower.eps,
    }


def _tower_config(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    # Files of early transformers hold a second copy, `text_config_dict`. It counts alone: what it
    # leaves out takes transformers' default, whatever `text_config` says.
    second = config.get(f"{name}_dict")
    return second if second is not None else config.get(name) or {}


def _square(tower: Mapping[str, Any], name: str, default: int) -> int:
    value = tower.get(name, default)
    sides = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(sides) != 1:
        raise WeightsError(f"{name} is {value}: only square ones are supported")
    return int(sides.pop())


def _activation(tower: Mapping[str, Any]) -> Activation:
    name = tower.get("hidden_act", "quick_gelu")
    if name not in _ACTIVATIONS:
        raise WeightsError(
            f"hidden_act is '{name}', not one of {', '.join(_ACTIVATIONS)}."
            f"{nearest(name, _ACTIVATIONS)}"
        )
    return _ACTIVATIONS[name]


def _end_of_text(text: Mapping[str, Any]) -> int:
    value = text.get("eos_token_id", 49407)
    if isinstance(value, list):
        if len(value) != 1:
            raise WeightsError(f"eos_token_id is {value}, expected one id")
        value = value[0]
    return int(value)


def write(path: str | Path, weights: ClipWeights) -> Path:
    """Writes a `CLIPModel` folder with its tokenizer and its image processor's config.

    `CLIPModel.from_pretrained` reads it, and so does `load_clip`, bit for bit. An existing folder
    is replaced. Raises `WeightsError` for a CLIP with a convolutional tower.
    """
    config, params, tokenizer = weights
    document, preprocessor = write_config(config)
    files = tokenizer.files()
    files[CONFIG_NAME] = json_bytes(document)
    files[PREPROCESSOR] = json_bytes(preprocessor)
    tensors = export_params(TABLE, params)
    # Without the metadata transformers refuses the file.
    return write_folder(path, files, {WEIGHTS_NAME: tensors}, {"format": "pt"})


def _matches(path: Path) -> bool:
    return (path / CONFIG_NAME).is_file() and "model_type" in read_json(path)


def _read(path: Path, reading: Reading) -> ClipWeights:
    document = read_json(path)
    with named(path):
        config = read_config(document)
    normalisation = find_normalisation(path, config.vision.image_size)
    config = replace(config, image_mean=normalisation.mean, image_std=normalisation.std)
    init = functools.partial(init_params, config)
    params = fill_params(TABLE, open_tensors(path), init, reading.param_dtype)
    tokenizer = reading.tokenizer or load_tokenizer(path, config.text.context_length)
    return ClipWeights(config, params, tokenizer)


def _table(config: CLIPConfig) -> Table:
    del config
    return TABLE


LAYOUT = Layout(
    "transformers", f"'{CONFIG_NAME}' with a model_type", _matches, _read, _table, write
)
