"""Loads an unCLIP, whole or by the stage, from whichever layout it lies in.

Ours (`unclip_stages`), diffusers' (`unclip_folder`) and that of Karlo's release
(`unclip_original`); each reads configs and parameters by the names of `UnClip.configs`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from clipdiff_jax.data.tokenize import load_tokenizer
from clipdiff_jax.models.unclip import TextEncoder
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.unclip.parts import (
    check_stages,
    is_stage_folder,
    read_stage_folder,
    read_stages,
    unclip_root,
)
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layouts import unclip_diffusers as unclip_folder
from clipdiff_jax.weights.layouts import unclip_karlo as unclip_original

_FILES = ("*.json", "*.txt")  # what a repository must have beside the weights


def load_unclip(
    source: str | Path,
    *,
    dtype: Any = jnp.float32,
    param_dtype: Any = jnp.float32,
    stages: Sequence[str] | None = None,
    revision: str | None = None,
) -> UnClip:
    """Loads an unCLIP.

    Args:
      source: "demo" (avatar faces); a folder with the model folders or runs of its stages, named
        "clip", "prior", "decoder", "upsampler"; a folder in diffusers' layout; one of Karlo's own
        files, see `unclip_original`; or a repository of the Hugging Face Hub:
        "kakaobrain/karlo-v1-alpha" (text to image) or
        "kakaobrain/karlo-v1-alpha-image-variations".
      dtype: what the networks compute in.
      param_dtype: what parameters are kept in. Karlo's are 3.3e9: 13 GB in float32, 6.6 in
        bfloat16.
      stages: which to load, of "text", "image", "prior", "decoder", "upsampler"; None for all that
        are there.
      revision: of a repository on the Hub.

    Raises `WeightsError` if there is no such model, it is incomplete, of another kind, or its
    components do not fit each other, and `TokenizerError` if there is no tokenizer beside it.
    """
    if (root := unclip_root(source)) is not None:
        chosen = None if stages is None else list(stages)
        found, params, clip = read_stages(root, chosen, param_dtype, dtype)
        return UnClip(found, params, clip.tokenizer, dtype)
    folder = _karlo_folder(source, revision)
    layout = _layout(folder)
    configs = layout.read_configs(folder)
    check_stages(folder, configs, stages or ())
    kept = {name: configs[name] for name in configs if stages is None or name in stages}
    text = configs["text"]
    assert isinstance(text, TextEncoder)
    tokenizer = load_tokenizer(folder / "tokenizer", text.tower.context_length)
    return UnClip(kept, layout.read_params(folder, configs, kept, param_dtype), tokenizer, dtype)


def read_stage(source: str | Path, stage: str) -> tuple[Any, Any]:
    """Config and parameters (float32) of one stage, to train it further.

    source: as `load_unclip` takes it, or the model folder or run of the stage itself.
    """
    root = unclip_root(source)
    if is_stage_folder(source) or root is not None:
        path = Path(source) if root is None else root / stage
        return read_stage_folder(path, stage)[:2]
    folder = _karlo_folder(source, None)
    layout = _layout(folder)
    configs = layout.read_configs(folder)
    check_stages(folder, configs, (stage,))
    return configs[stage], layout.read_params(folder, configs, (stage,), jnp.float32)[stage]


def _karlo_folder(source: str | Path, revision: str | None) -> Path:
    folder = locate(source, _FILES, revision)
    if folder.is_file():
        raise WeightsError(
            f"'{folder}' is a file, expected a folder in diffusers' layout or of Karlo's files"
        )
    return folder


def _layout(folder: Path) -> Any:
    """The module that reads the folder."""
    return unclip_original if unclip_original.is_original_folder(folder) else unclip_folder
