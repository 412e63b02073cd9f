"""From an image of any size to the square float array that a network sees.

Plain NumPy and Pillow on single examples, run by the loader's workers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

Transform = Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


def resize_shorter(
    image: UInt8[np.ndarray, "h w 3"],
    size: int,
    resample: Image.Resampling = Image.Resampling.LANCZOS,
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resizes so that the shorter side has `size` pixels, keeping the aspect ratio."""
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter == size:
        return image
    shape = (max(size, round(width * size / shorter)), max(size, round(height * size / shorter)))
    return np.asarray(Image.fromarray(image).resize(shape, resample))


def centre_crop(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """Cuts the middle `size` x `size` pixels. Raises `ValueError` where the image is smaller."""
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise ValueError(f"cannot cut {size} x {size} pixels out of {height} x {width}")
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def square(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The middle square of the image at `size` pixels: `resize_shorter`, then `centre_crop`."""
    return centre_crop(resize_shorter(image, size), size)


def clip_square(image: UInt8[np.ndarray, "h w 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The middle square as CLIP was trained on: bicubic, the longer side cut off to whole pixels.

    Where `resize_shorter` rounds, torchvision's `Resize` and transformers' `CLIPImageProcessor`
    truncate, and so does `clip.model.preprocess`.
    """
    height, width = image.shape[:2]
    shorter = min(height, width)
    if shorter != size:
        shape = (size * width // shorter, size * height // shorter)
        image = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BICUBIC))
    return centre_crop(image, size)


def to_float(image: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Maps 0..255 to [-1, 1]."""
    return image.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(image: Float32[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Maps [-1, 1] to 0..255, rounding to the nearest; values outside are clipped."""
    return np.round((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)


def draw_caption(example: dict[str, Any], rng: np.random.Generator) -> str:
    """One of the example's captions, at random."""
    captions: list[str] = example["captions"]
    return captions[int(rng.integers(len(captions)))]


def first_examples(source: Any, transform: Transform, count: int) -> dict[str, np.ndarray]:
    """The first `count` examples of a source, transformed and stacked; short ones start again.

    Example i is transformed with a generator of its own, so the result is always the same.
    """
    rows = [transform(source[i % len(source)], np.random.default_rng(i)) for i in range(count)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def prepare(size: int, flip: bool = False) -> Transform:
    """Returns the transform `(example, rng) -> {"image": float32 [size, size, 3] in [-1, 1]}`.

    With `flip` half of the images are mirrored left to right. Captions and attributes are left
    out, since a batch holds arrays only; a transform that needs them adds its own arrays:

        def with_tokens(example, rng):
            return prepare(64)(example, rng) | {"tokens": tokenize(rng.choice(example["captions"]))}
    """
    return partial(_prepare, size=size, flip=flip)


def _prepare(
    example: dict[str, Any], rng: np.random.Generator, size: int, flip: bool
) -> dict[str, Any]:
    image = square(example["image"], size)
    if flip and rng.random() < 0.5:
        image = image[:, ::-1]
    return {"image": to_float(image)}
