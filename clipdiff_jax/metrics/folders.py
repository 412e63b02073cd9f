"""Pictures of folders that are to be measured: which there are, their captions, their partners.

In a folder that a command of ours wrote, only the pictures in its manifest count, not the grids
beside them, and a picture's prompt is its caption.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from clipdiff_jax.core.batching import filled
from clipdiff_jax.core.config import nearest
from clipdiff_jax.data.folder import FolderData, open_folder
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.transforms import centre_crop, resize_shorter, square, to_float
from clipdiff_jax.pictures.records import MANIFEST, read_records


class Picture(NamedTuple):
    """A picture that can be read. `name` is its path within the folder, without its ending."""

    name: str
    path: Path
    captions: tuple[str, ...]

    def read(self) -> UInt8[np.ndarray, "h w 3"]:
        """All pixels, upright, see `data.folder.read_image`."""
        return read_image(self.path)


Pair = tuple[Picture, Picture]


def list_pictures(folder: Path) -> list[Picture]:
    """The pictures of a folder by name, with their captions.

    Raises `FileNotFoundError` where there are none and `ValueError` for two of one name.
    """
    source = open_folder(FolderData(str(folder)))
    prompts: dict[str, str | None] | None = None
    if (folder / MANIFEST).exists():
        prompts = {record["file"]: record.get("prompt") for record in read_records(folder)}
    pictures: dict[str, Picture] = {}
    for index in range(len(source)):
        example = source.describe(index)
        file = example["name"]
        if prompts is not None and file not in prompts:
            continue
        prompt = prompts[file] if prompts is not None else None
        captions = tuple(example.get("captions") or ([prompt] if prompt else []))
        name = PurePosixPath(file).with_suffix("").as_posix()
        if name in pictures:
            raise ValueError(
                f"'{pictures[name].path}' and '{folder / file}' have one name, so that neither "
                "has a partner of its own"
            )
        pictures[name] = Picture(name, folder / file, captions)
    if not pictures:
        raise FileNotFoundError(f"no picture of '{folder / MANIFEST}' is there")
    return list(pictures.values())


def list_pairs(folder: Path, reference: Path) -> list[Pair]:
    """The pictures of `folder`, each with the one of the same name in `reference`.

    Endings may differ. Raises `ValueError` that names the first picture of either folder without
    a partner in the other.
    """
    ours, theirs = (
        {picture.name: picture for picture in list_pictures(path)} for path in (folder, reference)
    )
    for here, there, other in ((ours, theirs, reference), (theirs, ours, folder)):
        alone = [picture for name, picture in here.items() if name not in there]
        if alone:
            more = f" ({len(alone)} such pictures)" if len(alone) > 1 else ""
            raise ValueError(
                f"'{alone[0].path}' has no partner '{alone[0].name}' in '{other}'{more}."
                + nearest(alone[0].name, there)
            )
    return [(picture, theirs[name]) for name, picture in ours.items()]


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
            centre_crop(resize_shorter(picture.read(), size, Image.Resampling.BICUBIC), size)
            for picture in pictures[start : start + batch_size]
        ]
        yield len(part), to_float(np.stack(filled(part, batch_size)))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, got {batch_size}")


def _filled(batch: list[tuple[np.ndarray, np.ndarray]], size: int) -> tuple[np.ndarray, np.ndarray]:
    images, truths = zip(*filled(batch, size), strict=True)
    return np.stack(images), np.stack(truths)
