"""An unCLIP of which only shapes matter, for programs that are compiled and not run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from clipdiff_jax.core.types import DType
from clipdiff_jax.data.blank import blank_tokenizer
from clipdiff_jax.models.presets import PUBLISHED_UNCLIPS
from clipdiff_jax.models.unclip import PartConfig, init_params
from clipdiff_jax.unclip.load import load_unclip
from clipdiff_jax.unclip.model import PARTS, UnClip
from clipdiff_jax.weights.params import blank_of


def outline_unclip(
    source: str, *, dtype: DType = jnp.float32, param_dtype: DType = jnp.float32
) -> UnClip:
    """The model that `load_unclip` would load, its parameters as shapes.

    A published model need not be here. Raises as `load_unclip` does.
    """
    if source in PUBLISHED_UNCLIPS and not Path(source).exists():
        return _outline(PUBLISHED_UNCLIPS[source], dtype, param_dtype)
    model = load_unclip(source, dtype=dtype)
    return jax.tree.map(lambda leaf: blank_of(leaf, param_dtype), model)


def _outline(parts: Mapping[str, PartConfig], dtype: DType, param_dtype: DType) -> UnClip:
    built: dict[str, Any] = {}
    for name, config in parts.items():
        shapes = jax.eval_shape(lambda config=config: init_params(config, jax.random.key(0)))
        build: Any = PARTS[name]
        built[name] = build(config, blank_of(shapes, param_dtype), dtype)
    length = built["text"].config.tower.context_length
    return UnClip(tokenizer=blank_tokenizer(length), **built)
