"""The text towers of latent diffusion models: transformers' names and OpenCLIP's.

In diffusers' folders they are transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`; in
single files the first of Stable Diffusion 1 and XL is the former, the others are OpenCLIP's.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clipdiff_jax.models.clip import TextConfig
from clipdiff_jax.models.latent import TextTower
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts import clip_openai, clip_transformers
from clipdiff_jax.weights.tables import Rule, Table

logger = logging.getLogger(__name__)

PLAIN, PROJECTED = "CLIPTextModel", "CLIPTextModelWithProjection"
_BRANCH, _PREFIX = "text/", "text_model."
_HEAD_WIDTH = 64  # of every published tower


def _alone(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """The rules of the text tower, whose parameters are the whole tree."""
    return tuple(
        replace(rule, ours=tuple(path.removeprefix(_BRANCH) for path in rule.our_patterns))
        for rule in rules
        if rule.our_patterns[0].startswith(_BRANCH)
    )


def transformers_table(prefixed: bool = True) -> Table:
    """transformers' names; prefixed: those that are written have the prefix of the tower."""

    def theirs(rule: Rule) -> Rule:
        names = rule.their_patterns
        return replace(rule, theirs=names if prefixed else tuple(reversed(names)))

    table = clip_transformers.TEXT_TABLE
    return Table(table.name, tuple(map(theirs, _alone(table.rules))), table.ignored)


def openclip_table(projected: bool) -> Table:
    """OpenCLIP's names; projected: whether the projection is of use, else it is ignored."""
    rules = _alone(clip_openai.VISION_TRANSFORMER.rules)
    idle = () if projected else ("text_projection",)
    return Table("OpenCLIP's text tower", rules, ("logit_scale", "attn_mask", *idle))


def is_prefixed(tensors: Mapping[str, object]) -> bool:
    return any(name.startswith(_PREFIX) for name in tensors)


def read_config(document: Mapping[str, Any]) -> tuple[TextConfig, int | None]:
    """`config.json` of a text tower -> the tower, and its projection's width where it has one.

    Raises `WeightsError` for another class.
    """
    names = document.get("architectures") or [document.get("_class_name")]
    if not isinstance(names, list) or names[0] not in (PLAIN, PROJECTED):
        raise WeightsError(f"config.json describes {names!r}, expected '{PLAIN}' or '{PROJECTED}'")
    projection = document.get("projection_dim", 512) if names[0] == PROJECTED else None
    return clip_transformers.read_text(document), projection


def write_config(tower: TextTower) -> dict[str, Any]:
    """The inverse of `read_config`."""
    text = tower.tower
    return {
        "architectures": [PLAIN if tower.projection_dim is None else PROJECTED],
        "model_type": "clip_text_model",
        "projection_dim": tower.projection_dim or text.width,
        **clip_transformers.write_text(text),
    }


def read_shapes(tensors: Mapping[str, np.ndarray], heads: int | None, openclip: bool) -> TextConfig:
    """The tower of a file's tensors, which have transformers' names, or OpenCLIP's.

    heads: of every attention; None for heads of 64 channels, as published.

    Raises `WeightsError` that names what is missing.
    """
    names = (
        ("token_embedding.weight", "positional_embedding", "transformer.resblocks", "mlp.c_fc")
        if openclip
        else (
            "embeddings.token_embedding.weight", "embeddings.position_embedding.weight",
            "encoder.layers", "mlp.fc1",
        )
    )  # fmt: skip
    found = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}

    def shape(name: str) -> tuple[int, ...]:
        if name not in found or found[name].ndim != 2:
            raise WeightsError(f"the text tower lacks the matrix '{name}'")
        return tuple(found[name].shape)

    tokens, positions, blocks, up = names
    vocabulary, width = shape(tokens)
    depth = 0
    while f"{blocks}.{depth}.{up}.weight" in found:
        depth += 1
    if heads is None and width % _HEAD_WIDTH:
        heads = 1
        logger.warning(
            "nothing in the file tells the text tower's heads, and a width of %d is no published "
            "tower's: taking 1; give `text_heads` for others", width,
        )  # fmt: skip
    return TextConfig(
        vocab_size=vocabulary,
        context_length=shape(positions)[0],
        width=width,
        depth=depth,
        heads=width // _HEAD_WIDTH if heads is None else heads,
        mlp_width=shape(f"{blocks}.0.{up}.weight")[0],
        activation="gelu" if openclip else "quick_gelu",
        eos_token_id=vocabulary - 1,
    )
