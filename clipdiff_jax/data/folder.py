"""A folder of images with captions, in the layout that the Hub's `imagefolder` reads.

Captions come from `metadata.jsonl` (one object a line: `file_name`, and `captions`, `caption` or
`text`; further string values are attributes) or from a text file beside the image (`a.png` and
`a.txt`, one caption a line).
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from tqdm import tqdm

logger = logging.getLogger(__name__)

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class FolderData:
    """Images below `path`, sub-folders included, in the order of their names.

    `background` is the colour behind transparent pixels. With `on_error="raise"` an image that
    cannot be read raises when it is reached; with `"skip"` all images are read once on opening,
    and those that cannot be are left out, named and counted (`Folder.skipped`).
    """

    path: str
    on_error: Literal["raise", "skip"] = "raise"
    background: tuple[int, int, int] = (255, 255, 255)

    def __post_init__(self) -> None:
        if self.on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
        if not all(0 <= level <= 255 for level in self.background):
            raise ValueError(f"background must be RGB in 0..255, got {self.background}")


class UnreadableImage(ValueError):
    """An image file that cannot be decoded; the message names it."""


def read_image(
    path: str | Path, background: tuple[int, int, int] = (255, 255, 255)
) -> UInt8[np.ndarray, "h w 3"]:
    """Reads any image file as RGB, upright.

    EXIF rotation is applied; palette, grey, CMYK and 16-bit images are converted; transparent
    pixels are composited on `background`; of an animation the first frame is taken. Raises
    `UnreadableImage` for a file that is missing, truncated, or no image.
    """
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits a pixel; "I" is how some files are opened
                levels = np.asarray(image).astype(np.float64)
                image = Image.fromarray(np.round(levels.clip(0, 65535) / 257).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
                image = image.convert("RGBA")
                canvas = Image.new("RGBA", image.size, (*background, 255))
                image = Image.alpha_composite(canvas, image)
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"cannot read the image '{path}': {error}") from error


class Folder:
    """The images of a folder as a `DataSource`; `skipped` names the files left out."""

    def __init__(self, config: FolderData) -> None:
        self.config = config
        root = Path(config.path).expanduser()
        if not root.is_dir():
            raise FileNotFoundError(f"no folder of images at '{root}'")
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in EXTENSIONS)
        if not paths:
            raise FileNotFoundError(
                f"no images in '{root}'; looked for files ending in {', '.join(EXTENSIONS)}"
            )
        self.skipped: tuple[str, ...] = ()
        if config.on_error == "skip":
            readable = [p for p in tqdm(paths, "checking images") if _is_readable(p)]
            self.skipped = tuple(str(p) for p in paths if p not in set(readable))
            if self.skipped:
                logger.warning(
                    "left out %d of %d images that cannot be read: %s",
                    len(self.skipped), len(paths), ", ".join(self.skipped),
                )  # fmt: skip
            if not readable:
                raise UnreadableImage(f"none of the {len(paths)} images in '{root}' can be read")
            paths = readable
        self._root, self._paths = root, paths
        self._described = _read_metadata(root, paths)
        listing = [
            [p.relative_to(root).as_posix(), p.stat().st_size, self._described.get(p)]
            for p in paths
        ]
        text = json.dumps([listing, config.background], sort_keys=True)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = read_image(self._paths[index], self.config.background)
        return {"image": image, **self.describe(index)}

    def describe(self, index: int) -> dict[str, Any]:
        """The example without its image, which is not read."""
        path = self._paths[index]
        return {"name": path.relative_to(self._root).as_posix(), **self._described.get(path, {})}


def open_folder(config: FolderData) -> Folder:
    """Opens the folder.

    Raises `FileNotFoundError` where there is no folder or no image in it, `ValueError` for
    metadata that cannot be understood or names a file that is not there.
    """
    return Folder(config)


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except UnreadableImage:
        return False
    return True


def _read_metadata(root: Path, paths: list[Path]) -> dict[Path, dict[str, Any]]:
    """Captions and attributes by image, from text files and then from metadata.jsonl files."""
    described: dict[Path, dict[str, Any]] = {}
    for path in paths:
        text = path.with_suffix(".txt")
        if text.exists():
            lines = [line.strip() for line in text.read_text("utf-8").splitlines()]
            described[path] = {"captions": [line for line in lines if line]}
    for table in sorted(root.rglob("metadata.jsonl")):
        for number, line in enumerate(table.read_text("utf-8").splitlines(), 1):
            if line.strip():
                name, example = _read_entry(line, f"{table}, line {number}")
                path = table.parent / name
                if not path.exists():
                    raise ValueError(f"{table}, line {number}: there is no file '{name}'")
                described[path] = described.get(path, {}) | example
    return described


def _read_entry(line: str, where: str) -> tuple[str, dict[str, Any]]:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("file_name"), str):
        raise ValueError(f"{where}: expected an object with a 'file_name', got {line.strip()!r}")
    name = entry.pop("file_name")
    example: dict[str, Any] = {}
    for key in ("captions", "caption", "text"):
        found = entry.pop(key, None)
        if found is not None:
            found = [found] if isinstance(found, str) else found
            if not isinstance(found, list) or not all(isinstance(c, str) for c in found):
                raise ValueError(f"{where}: '{key}' must be a string or a list of strings")
            example["captions"] = example.get("captions", []) + found
    attributes = {key: value for key, value in entry.items() if isinstance(value, str)}
    if attributes:
        example["attributes"] = attributes
    return name, example
