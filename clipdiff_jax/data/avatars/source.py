"""The embedded data set: avatars whose every attribute is known, rendered once and cached.

No face is stored twice and none crosses from one split to another, because the split is decided by
a hash of the picture (`data.avatars.faces.split_of`). The cache is a folder with `images.npy`
(uint8 [N,H,W,3], read through a memory map) and `faces.jsonl` (one record per line); its name is a
hash of everything the pictures depend on.
"""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.core.checks import MissingExtra
from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.files import cache_dir
from clipdiff_jax.core.progress import counter
from clipdiff_jax.data.avatars.captions import captions
from clipdiff_jax.data.avatars.faces import (
    Face,
    Split,
    draw_face,
    draw_variant,
    from_json,
    labels,
    picture_key,
    render,
    split_of,
    to_json,
)
from clipdiff_jax.data.avatars.rendering import FACES, IMAGES, render_folder
from clipdiff_jax.data.avatars.styles import ATTRIBUTES, HELD_OUT, STYLES

CAPTIONS_PER_FACE = 5
VARIANT_TRIES = 2
RENDERERS = ("dicebear-core", "dicebear-styles", "resvg_py")
# Raise this when faces are drawn from the tables in another way.
RECIPE = 1


@dataclass(frozen=True)
class AvatarsData:
    """Avatars of `size` pixels.

    The first of `styles` is the main domain and has the share `main_share` of the `count` faces;
    the others share the rest equally. A longer set of the same seed begins with the shorter one.
    With `variants` above 1 each draw gives up to that many faces, one after the other, which differ
    in their details (mouth, eyes, glasses, beard) only: hard cases to learn details from.
    """

    size: int = 64
    split: Split = "train"
    count: int = 24_000
    styles: tuple[str, ...] = ("avataaars", "pixel-art", "lorelei", "big-ears")
    main_share: float = 0.85
    variants: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "count", "variants"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.split not in get_args(Split):
            raise ValueError(
                f"unknown split {self.split!r}; expected one of {', '.join(get_args(Split))}."
                + nearest(self.split, get_args(Split))
            )
        if not 0 < self.main_share <= 1:
            raise ValueError(f"main_share must lie in (0, 1], got {self.main_share}")
        if not self.styles:
            raise ValueError("styles must name at least one art style")
        for style in self.styles:
            if style not in STYLES:
                raise ValueError(
                    f"unknown art style {style!r}; expected one of {', '.join(STYLES)}."
                    + nearest(style, STYLES)
                )


def faces(config: AvatarsData) -> list[Face]:
    """The records of the set, in order: the first `count` draws that fall into its split."""
    return list(stream(config))


def stream(config: AvatarsData) -> Iterator[Face]:
    """The same, drawn one by one."""
    groups = (_variants(config, index) for index in itertools.count())
    return itertools.islice(itertools.chain.from_iterable(groups), config.count)


def _variants(config: AvatarsData, index: int) -> list[Face]:
    """Draw `index` and its variants: those of the split, no two of one picture."""
    face = draw_face(config.seed, index, config.styles, config.main_share)
    tries = range(1, VARIANT_TRIES * config.variants if config.variants > 1 else 1)
    drawn = [face, *(draw_variant(face, config.seed, index, number) for number in tries)]
    distinct = {picture_key(face): face for face in drawn if split_of(face) == config.split}
    return list(distinct.values())[: config.variants]


class Avatars:
    """A rendered set of avatars as a `DataSource`.

    `faces[i]` is the record behind example `i`. Each example has `CAPTIONS_PER_FACE` captions that
    depend on the set and on `i` only.
    """

    def __init__(self, config: AvatarsData, folder: Path, fingerprint: str) -> None:
        self.config = config
        self.fingerprint = fingerprint
        self.images: UInt8[np.ndarray, "n h w 3"] = np.load(folder / IMAGES, mmap_mode="r")
        lines = (folder / FACES).read_text().splitlines()
        self.faces = [from_json(line) for line in lines]
        self._folder = folder
        self._captions: dict[int, tuple[str, ...]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A worker process opens the cache itself, rather than receiving the images."""
        return Avatars, (self.config, self._folder, self.fingerprint)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> dict[str, Any]:
        face = self.faces[index]
        index %= len(self)
        if index not in self._captions:  # kept, since composing them is the slowest part
            self._captions[index] = tuple(captions_of(face, index, self.fingerprint))
        return {
            "image": np.array(self.images[index]),
            "captions": list(self._captions[index]),
            "attributes": labels(face),
            "name": f"{self.config.split}-{index:06d}",
        }


def open_avatars(config: AvatarsData, workers: int | None = None) -> Avatars:
    """Opens the set, rendering it first (with a progress bar) if the cache does not have it.

    `workers` processes render, by default one per core. Raises `MissingExtra` naming the extra
    `[demo]` where the renderer is not installed.
    """
    fingerprint = fingerprint_of(config)
    folder = cache_dir() / f"avatars-{config.split}-{config.size}px-{fingerprint}"
    if not folder.exists():
        _publish(folder, partial(_write, config, workers=workers))
    return Avatars(config, folder, fingerprint)


def captions_of(face: Face, index: int, fingerprint: str) -> list[str]:
    """The captions of a face by its place in the set of that fingerprint."""
    rng = np.random.default_rng((int(fingerprint[:8], 16), index))
    return captions(face, rng, CAPTIONS_PER_FACE)


def fingerprint_of(config: AvatarsData) -> str:
    """A hash of everything that the set depends on. Raises `MissingExtra` without the renderer."""
    try:
        versions = {name: metadata.version(name) for name in RENDERERS}
    except metadata.PackageNotFoundError as error:
        raise MissingExtra(
            f"avatars need '{error.name}', which is not installed; "
            "install the extra: pip install 'clipdiff_jax[demo]'"
        ) from error
    tables = [dict(ATTRIBUTES), HELD_OUT, {name: asdict(s) for name, s in STYLES.items()}]
    parts = [RECIPE, asdict(config), versions, repr(tables)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _write(config: AvatarsData, folder: Path, workers: int | None) -> None:
    records = faces(config)
    workers = min(workers or os.cpu_count() or 1, -(-len(records) // 64))
    (folder / FACES).write_text("".join(to_json(face) + "\n" for face in records))
    images = np.lib.format.open_memmap(
        folder / IMAGES, "w+", np.uint8, (len(records), config.size, config.size, 3)
    )
    said = f"rendering avatars ({config.split})"
    with counter(said, total=len(records), unit="face") as told:
        if workers == 1:
            for i, face in enumerate(records):
                images[i] = render(face, config.size)
                told.update()
        else:
            for done in render_folder(folder, workers):
                told.update(done)
    images.flush()


def _publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Writes a folder beside `folder` and renames it, so that a folder that exists is complete."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write(unfinished)
        if not folder.exists():
            unfinished.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process has published the same set first
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
