"""An unCLIP on disk: loaded whole from whichever layout it lies in, read and written by the part.

As training leaves them, parts are model folders beside each other: which there are and what is in
them is `weights.layouts.unclip_ours`.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.avatars.captions import knowing_avatars
from clipdiff_jax.models.unclip import PartConfig
from clipdiff_jax.unclip.model import PARTS, UnClip
from clipdiff_jax.weights.folder import ASSETS
from clipdiff_jax.weights.hub import locate, locate_configs
from clipdiff_jax.weights.layout import Layout, Reading, UnClipWeights
from clipdiff_jax.weights.layouts import unclip_ours
from clipdiff_jax.weights.layouts.unclip import LAYOUTS
from clipdiff_jax.weights.layouts.unclip_diffusers import is_unclip_folder
from clipdiff_jax.weights.layouts.unclip_karlo import is_original_folder
from clipdiff_jax.weights.loading import DEMO, read_first


def load_unclip(
    source: str | Path,
    *,
    dtype: DType = jnp.float32,
    param_dtype: DType = jnp.float32,
    parts: Sequence[str] | None = None,
    revision: str | None = None,
    layouts: Sequence[Layout[PartConfig, UnClipWeights]] = LAYOUTS,
    stages: Sequence[str] | None = None,
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
      parts: which parts to load, of "text", "image", "prior", "decoder", "upsampler"; None for
        all that are there.
      revision: of a repository on the Hub.
      layouts: which are tried, in this order; add one of your own, see `weights.layout`.
      stages: the older name of `parts`.

    Raises `WeightsError` if there is no such model, it is incomplete, of another kind, its
    components do not fit each other, or there is no tokenizer beside it.
    """
    if stages is not None:
        if parts is not None:
            raise ValueError("stages is the older name of parts: give parts alone")
        warnings.warn("load_unclip(stages=...) is now parts=...", DeprecationWarning, stacklevel=2)
        parts = stages
    path = find_unclip(source, revision)
    wanted = None if parts is None else tuple(parts)
    read, tokenizer = read_first(layouts, path, Reading(param_dtype=param_dtype, parts=wanted))
    built: dict[str, Any] = {name: _kind(name)(*part, dtype) for name, part in read.items()}
    tokenizer = knowing_avatars(tokenizer) if source == DEMO else tokenizer
    return UnClip(tokenizer=tokenizer, **built)


def read_part(source: str | Path, name: str) -> tuple[Any, Params]:
    """Config and parameters (float32) of one part, to train it further.

    source: as `load_unclip` takes it, or the model folder or run of the part itself.
    """
    if source != DEMO and unclip_ours.is_part_folder(source):
        return unclip_ours.read_part_folder(source, name)[:2]
    path = find_unclip(source)
    if unclip_ours.LAYOUT.matches(path):  # without its CLIP, which need not be there
        return unclip_ours.read_part_folder(path / name, name)[:2]
    return read_first(LAYOUTS, path, Reading(parts=(name,))).parts[name]


def find_unclip(source: str | Path, revision: str | None = None) -> Path:
    """The folder that `source` means, see `load_unclip`; `WeightsError` where there is none."""
    return ASSETS if source == DEMO else locate(source, revision=revision)


def is_unclip(source: str | Path) -> bool:
    """Whether `source` is a folder or repository that holds an unCLIP, or "demo"; of a repository
    its configs alone are downloaded."""
    path = ASSETS if source == DEMO else locate_configs(source)
    return path is not None and (
        unclip_ours.LAYOUT.matches(path) or is_original_folder(path) or is_unclip_folder(path)
    )


def _kind(name: str) -> Any:
    """What a part is, by its name in `PARTS`; raises `ValueError` for another name."""
    if name not in PARTS:
        raise ValueError(
            f"an unCLIP has no part '{name}', its parts are: {', '.join(PARTS)}."
            f"{nearest(name, PARTS)}"
        )
    return PARTS[name]
