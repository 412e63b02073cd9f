"""Loads an unCLIP, whole or by the part, from whichever layout it lies in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.unclip import PartConfig
from clipdiff_jax.unclip.model import PARTS, UnClip
from clipdiff_jax.unclip.parts import find_unclip
from clipdiff_jax.weights.layout import AnyPart, Layout, Reading, UnClipWeights
from clipdiff_jax.weights.layouts.unclip import LAYOUTS
from clipdiff_jax.weights.loading import read_first


def load_unclip(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType = jnp.float32,
    stages: Sequence[str] | None = None,
    revision: str | None = None,
    layouts: Sequence[Layout[PartConfig, UnClipWeights]] = LAYOUTS,
) -> UnClip:
    """Loads an unCLIP.

    Args:
      source: "demo" (avatar faces); a folder with the model folders or runs of its parts, named
        "clip", "prior", "decoder", "upsampler"; a folder in diffusers' layout; one of Karlo's own
        files, see `weights.layouts.unclip_karlo`; or a repository of the Hugging Face Hub:
        "kakaobrain/karlo-v1-alpha" (text to image) or
        "kakaobrain/karlo-v1-alpha-image-variations".
      dtype: what the networks compute in.
      param_dtype: what parameters are kept in. Karlo's are 3.3e9: 13 GB in float32, 6.6 in
        bfloat16.
      stages: which parts to load, of "text", "image", "prior", "decoder", "upsampler"; None for
        all that are there.
      revision: of a repository on the Hub.
      layouts: which are tried, in this order; add one of your own, see `weights.layout`.

    Raises `WeightsError` if there is no such model, it is incomplete, of another kind, or its
    components do not fit each other, and `TokenizerError` if there is no tokenizer beside it.
    """
    wanted = None if stages is None else tuple(stages)
    reading = Reading(param_dtype=param_dtype, parts=wanted)
    parts, tokenizer = read_first(layouts, find_unclip(source, revision), reading)
    built: dict[str, Any] = {name: _build_part(name, *part, dtype) for name, part in parts.items()}
    return UnClip(tokenizer=tokenizer, **built)


def _build_part(name: str, config: AnyPart, params: Params, dtype: DType) -> Any:
    """A part of its config and parameters, by its name in `PARTS`.

    Raises `ValueError` for another name.
    """
    if name not in PARTS:
        raise ValueError(
            f"an unCLIP has no part '{name}', its parts are: {', '.join(PARTS)}."
            f"{nearest(name, PARTS)}"
        )
    build: Any = PARTS[name]
    return build(config, params, dtype)
