"""Data by name, as a command line says it: a folder, "avatars", or one of tensorflow-datasets'.

photos/                     FolderData, or EmbeddingsData where `clipdiff embed` wrote it
avatars, avatars:unseen     AvatarsData of a split
shapes                      ShapesData
celeb_a_hq/256:train[:70%]  TfdsData, with or without a split
"""

import dataclasses
import re
from pathlib import Path
from typing import Any, get_args

from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.avatars.faces import Split
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.embeddings import INFO, EmbeddingsData
from clipdiff_jax.data.folder import FolderData
from clipdiff_jax.data.shapes import ShapesData
from clipdiff_jax.data.tfds_source import TfdsData

AVATARS, SHAPES = "avatars", "shapes"
_TFDS = re.compile(r"[a-z][a-z0-9_]*(/[\w.-]+)*")
AnyData = AvatarsData | ShapesData | FolderData | TfdsData | EmbeddingsData


def data_of(name: str, now: Any = None) -> AnyData:
    """What a name means.

    now: the data in whose place it comes: where it is of the same kind it keeps its other settings.
    Raises `FileNotFoundError`, with the nearest name, for a folder that is not there, `ValueError`
    for what is no name at all.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        kind = EmbeddingsData if (path / INFO).is_file() else FolderData
        return dataclasses.replace(now, path=name) if isinstance(now, kind) else kind(name)
    if path.is_file():
        raise ValueError(f"'{name}' is a file, expected a folder of pictures")
    base, _, split = name.partition(":")
    if base == AVATARS:
        return _avatars(split, now)
    if base == SHAPES:
        if split:
            raise ValueError(f"shapes have no splits, got '{split}': give another seed")
        return now if isinstance(now, ShapesData) else ShapesData()
    if not _TFDS.fullmatch(base) or path.is_absolute():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise FileNotFoundError(
            f"no folder '{name}'.{nearest(path.name, [*beside, AVATARS, SHAPES])}"
        )
    chosen: dict[str, Any] = {"name": base} | ({"split": split} if split else {})
    return dataclasses.replace(now, **chosen) if isinstance(now, TfdsData) else TfdsData(**chosen)


def _avatars(split: str, now: Any) -> AvatarsData:
    if split and split not in get_args(Split):
        raise ValueError(
            f"avatars have no split '{split}', but {', '.join(get_args(Split))}."
            f"{nearest(split, get_args(Split))}"
        )
    chosen: dict[str, Any] = {"split": split} if split else {}
    known = now if isinstance(now, AvatarsData) else AvatarsData()
    return dataclasses.replace(known, **chosen)
