"""The parts of an unCLIP on disk: each a model folder of its own, as training leaves it.

Which folders there are and what is in them is `weights.layouts.unclip_ours`; parts of an unCLIP in
another layout are read from there.
"""

from pathlib import Path
from typing import Any

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.weights.folder import ASSETS
from clipdiff_jax.weights.hub import locate
from clipdiff_jax.weights.layout import AnyPart, Reading
from clipdiff_jax.weights.layouts import unclip_ours
from clipdiff_jax.weights.layouts.unclip import LAYOUTS
from clipdiff_jax.weights.layouts.unclip_diffusers import is_unclip_folder
from clipdiff_jax.weights.layouts.unclip_karlo import is_original_folder
from clipdiff_jax.weights.loading import DEMO, read_first


def save_part(
    path: str | Path,
    config: AnyPart,
    params: Params,
    *,
    clip: str = "",
    dtype: DType | None = None,
) -> None:
    """Writes a part's model folder. clip: the fingerprint of the CLIP it was trained with."""
    unclip_ours.write_part(path, config, params, clip=clip, dtype=dtype)


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
    """Whether `source` is a folder here that holds an unCLIP, or "demo"; nothing is downloaded."""
    path = ASSETS if source == DEMO else Path(source)
    return unclip_ours.LAYOUT.matches(path) or is_original_folder(path) or is_unclip_folder(path)
