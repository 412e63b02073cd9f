"""Pictures of folders that are to be measured: which there are, their captions, their partners.

In a folder that a command of ours wrote, only the pictures in its manifest count, not what lies
beside them, and a picture's prompt is its caption. Grids of ours are never pictures to be measured.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from clipdiff_jax.core.batching import filled
from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.image_files import find_images, find_named, is_readable, read_image
from clipdiff_jax.data.transforms import clip_square, square, to_float
from clipdiff_jax.pictures.grid import is_grid
from clipdiff_jax.pictures.records import MANIFEST, read_records


class Picture(NamedTuple):
    """A picture that can be read. `name` is its path within the folder, without its ending."""

    name: str
    path: Path
    captions: tuple[str, ...]

    def read(self) -> UInt8[np.ndarray, "h w 3"]:
        """All pixels, upright, see `data.folder.read_image`."""
        return read_image(self.path)


OnError = Literal["raise", "skip"]
Pair = tuple[Picture, Picture]


def list_pictures(folder: Path, on_error: OnError = "raise") -> list[Picture]:
    """The pictures of a folder in order, with their captions.

    on_error: "skip" leaves out what cannot be read, and says so; else it raises when it is reached.
    Raises `FileNotFoundError` where there are none.
    """
    source = open_folder(FolderData(str(folder), on_error=on_error))
    prompts = _prompts(folder)
    pictures = []
    for index in range(len(source)):
        example = source.describe(index)
        path = folder / example["name"]
        run = next((above for above in path.parents if above in prompts), None)
        made = {} if run is None else prompts[run]
        if is_grid(path) or (run is not None and path.relative_to(run).as_posix() not in made):
            continue
        prompt = made.get(path.name)
        captions = tuple(example.get("captions") or ([prompt] if prompt else []))
        name = PurePosixPath(example["name"]).with_suffix("").as_posix()
        pictures.append(Picture(name, path, captions))
    if not pictures:
        raise FileNotFoundError(f"no picture of '{folder / MANIFEST}' is there")
    return pictures


def list_pairs(folder: Path, reference: Path, on_error: OnError = "raise") -> list[Pair]:
    """The pictures of `folder`, each with the one of the same name in `reference`.

    Endings may differ. on_error: as of `list_pictures`; a picture goes with its partner. Raises
    `ValueError` that names the first picture of either folder without a partner in the other, and
    for two pictures of one name.
    """
    ours, theirs = (_by_name(list_pictures(path, on_error)) for path in (folder, reference))
    lost = (
        {name for path in (folder, reference) for name in _unreadable(path)}
        if on_error == "skip"
        else set()
    )
    for here, there, other in ((ours, theirs, reference), (theirs, ours, folder)):
        alone = [p for name, p in here.items() if name not in there and name not in lost]
        if alone:
            more = f" ({len(alone)} such pictures)" if len(alone) > 1 else ""
            raise ValueError(
                f"'{alone[0].path}' has no partner '{alone[0].name}' in '{other}'{more}."
                + nearest(alone[0].name, there)
            )
    pairs = [(picture, theirs[name]) for name, picture in ours.items() if name in theirs]
    if not pairs:
        raise ValueError(f"no picture of '{folder}' and its partner can be read")
    return pairs


def _prompts(folder: Path) -> dict[Path, dict[str, str | None]]:
    """By folder with a manifest, the prompts of the files that it names."""
    found = {}
    for manifest in find_named(folder, MANIFEST):
        records = read_records(manifest)
        found[manifest.parent] = {record["file"]: record.get("prompt") for record in records}
    return found


def _by_name(pictures: Sequence[Picture]) -> dict[str, Picture]:
    named: dict[str, Picture] = {}
    for picture in pictures:
        if picture.name in named:
            raise ValueError(
                f"'{named[picture.name].path}' and '{picture.path}' have one name, so that neither "
                "has a partner of its own"
            )
        named[picture.name] = picture
    return named


def _unreadable(folder: Path) -> set[str]:
    """The names of the pictures of a folder that cannot be read."""
    found = find_images(folder)
    names = (path.relative_to(folder) for path in (*found.paths, *found.left_out)
             if not is_readable(path))  # fmt: skip
    return {path.with_suffix("").as_posix() for path in names}


def read_pairs(
    pairs: Sequence[Pair], batch_size: int, size: int | None = None
) -> Iterator[tuple[int, Float32[np.ndarray, "b h w 3"], Float32[np.ndarray, "b h w 3"]]]:
    """(how many pairs, pictures, references) in order, pictures in [-1, 1].

    A batch has `batch_size` pairs of one shape; where fewer follow each other it is filled up with
    its last. size: of the middle squares that pictures are brought to; None takes them as they
    are. Raises `ValueError` for a pair of different shapes.
    """
    _check_batch_size(batch_size)
    batch: list[tuple[np.ndarray, np.ndarray]] = []
    for picture, reference in pairs:
        image, truth = picture.read(), reference.read()
        if size is not None:
            image, truth = square(image, size), square(truth, size)
        if image.shape != truth.shape:
            shapes = [f"{height}x{width}" for height, width, _ in (image.shape, truth.shape)]
            raise ValueError(
                f"'{picture.path}' has {shapes[0]} pixels and '{reference.path}' {shapes[1]}: "
                "compare them at one size, such as that of the smaller"
            )
        if batch and (len(batch) == batch_size or batch[0][0].shape != image.shape):
            yield len(batch), *_filled(batch, batch_size)
            batch = []
        batch.append((to_float(image), to_float(truth)))
    if batch:
        yield len(batch), *_filled(batch, batch_size)


def read_squares(
    pictures: Sequence[Picture], batch_size: int, size: int
) -> Iterator[tuple[int, Float32[np.ndarray, "b size size 3"]]]:
    """(how many, their middle squares as CLIP was trained on them: bicubic, in [-1, 1]).

    The last batch is filled up with its last picture.
    """
    _check_batch_size(batch_size)
    for start in range(0, len(pictures), batch_size):
        part = [
            clip_square(picture.read(), size) for picture in pictures[start : start + batch_size]
        ]
        yield len(part), to_float(np.stack(filled(part, batch_size)))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")


def _filled(batch: list[tuple[np.ndarray, np.ndarray]], size: int) -> tuple[np.ndarray, np.ndarray]:
    images, truths = zip(*filled(batch, size), strict=True)
    return np.stack(images), np.stack(truths)
