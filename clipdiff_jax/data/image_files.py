"""Image files: which files of a folder are pictures, and one of them as RGB.

What operating systems and tools leave beside pictures (hidden files, `__MACOSX`, `._*`, notebooks'
checkpoints, empty files) is no picture. Links are followed, each folder once.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, features

EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
NOT_PICTURES = ("__MACOSX",)
_PHONES = (".heic", ".heif")
_BITS, _LOWEST, _HIGHEST = 258, 340, 341  # TIFF tags: bits a sample, the range of its values
_WHITE = (255, 255, 255)
# What Pillow raises for files that are damaged, too large, or no pictures.
UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, Image.DecompressionBombError)


class UnreadableImage(ValueError):
    """An image file that cannot be decoded; the message names it."""


@dataclass(frozen=True)
class Found:
    """The pictures below a folder, sorted, and the files that look like pictures and are none."""

    paths: tuple[Path, ...]
    left_out: tuple[Path, ...]


def find_images(root: Path) -> Found:
    """Looks through a folder and those below it.

    Left out, and listed, are empty files, folders with the name of a picture, and links that lead
    nowhere; hidden files and folders are not looked at. A folder that links reach twice is taken
    once.
    """
    paths: list[Path] = []
    left_out: list[Path] = []
    for path in _visible(root):
        if path.suffix.lower() in EXTENSIONS:
            whole = path.is_file() and path.stat().st_size > 0
            (paths if whole else left_out).append(path)
    return Found(tuple(sorted(paths)), tuple(sorted(left_out)))


def find_named(root: Path, name: str) -> list[Path]:
    """The files of this name below a folder, as `find_images` looks through it."""
    return sorted(path for path in _visible(root) if path.name == name and path.is_file())


def read_image(
    path: str | Path, background: tuple[int, int, int] = _WHITE
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads any image file as RGB, upright.

    EXIF rotation is applied; palette, grey, CMYK and 16-bit images are converted; 32-bit and
    floating-point TIFFs are scaled by the range that the file states; transparent pixels are
    composited on `background`; of an animation the first frame is taken. Raises `UnreadableImage`
    for a file that is missing, truncated, or no image, and for one that does not say what its
    numbers mean.
    """
    try:
        _register_heif(Path(path))
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I") or image.mode == "F":
                image = Image.fromarray(_eight_bits(opened, np.asarray(image, np.float64)))
            return rgb(image, background)
    except UNREADABLE as error:
        raise UnreadableImage(f"cannot read the image '{path}': {error}") from error


def is_readable(path: Path) -> bool:
    """Whether `read_image` reads it."""
    try:
        read_image(path)
    except UnreadableImage:
        return False
    return True


def rgb(
    image: Image.Image, background: tuple[int, int, int] = _WHITE
) -> UInt8[np.ndarray, "h w 3"]:
    """A PIL picture of 8 bits a channel as RGB, upright by its EXIF; transparent pixels are
    composited on `background`. Raises `ValueError` for one of more bits."""
    if image.mode.startswith("I") or image.mode == "F":
        raise ValueError(
            f"the picture has the mode '{image.mode}', whose range is not known: scale it to 8 "
            "bits, or read its file with clipdiff_jax.load_images"
        )
    image = ImageOps.exif_transpose(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(canvas, image)
    return np.asarray(image.convert("RGB"))


def _visible(root: Path) -> Iterator[Path]:
    """Every file and folder below `root` that is not hidden; each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if _is_shown(name))
        for name in (*folders, *files):
            if _is_shown(name):
                yield Path(folder, name)


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name not in NOT_PICTURES


def _eight_bits(opened: Image.Image, values: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    """Grey values of more than 8 bits as 0 .. 255; `ValueError` where their range is not known."""
    low, high = 0.0, 65535.0
    tags = getattr(opened, "tag_v2", {})
    if opened.mode == "F" or tags.get(_BITS, (16,))[0] > 16:
        if _LOWEST not in tags or _HIGHEST not in tags:
            raise ValueError(
                f"its pixels are of mode '{opened.mode}' and the file does not state their range "
                "(SMinSampleValue, SMaxSampleValue): save it with 8 or 16 bits"
            )
        low, high = (float(np.ravel(tags[tag])[0]) for tag in (_LOWEST, _HIGHEST))
    if not np.isfinite(values).all() or not high > low:
        raise ValueError(f"its pixels are not all finite numbers in a range, {low:g} to {high:g}")
    scaled = (values.clip(low, high) - low) / (high - low) * 255
    return np.round(scaled).astype(np.uint8)


def _register_heif(path: Path) -> None:
    """Photographs of phones need a plug-in of Pillow's; `ValueError` says how to get it."""
    suffix = path.suffix.lower()
    if suffix in _PHONES:
        try:
            import pillow_heif
        except ImportError as error:
            raise ValueError("HEIC needs an extra: pip install 'clipdiff-jax[heic]'") from error
        pillow_heif.register_heif_opener()
    elif suffix == ".avif" and not features.check("avif"):
        raise ValueError("this Pillow cannot read AVIF: pip install --upgrade pillow")
