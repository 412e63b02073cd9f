"""Layouts on the command line: a JSON file of what is to be where, and what a record holds of it.

    {"prompt": "a park", "regions": [{"prompt": "a red bench", "box": [0, 0.5, 0.5, 1]},
                                     {"prompt": "a tree", "mask": "tree.png", "weight": 2}]}

A mask's file is named from where the layout lies. A record holds masks themselves, so that it needs
no file to be made again.
"""

import base64
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.json_files import read_json
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.latent.steering.layout import Region

_LAYOUT, _REGION = ("prompt", "regions"), ("prompt", "box", "mask", "weight")
Entry = dict[str, Any]  # a region as a record has it


def read_layout(path: Path) -> tuple[str, list[Entry]]:
    """The prompt of a layout's file and its regions as a record has them.

    Raises `ValueError` that names the file and the region for what cannot be understood, and
    `FileNotFoundError` where there is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no layout '{path}'")
    found = read_json(path, most=2**20)
    _check(f"'{path}'", found, _LAYOUT, _LAYOUT)
    if not isinstance(found["prompt"], str) or not isinstance(found["regions"], list):
        raise ValueError(f"'{path}' needs a text as 'prompt' and a list as 'regions'")
    entries = []
    for number, region in enumerate(found["regions"], start=1):
        where = f"region {number} in '{path}'"
        _check(where, region, _REGION, ("prompt",))
        if ("box" in region) == ("mask" in region):
            given = "both" if "box" in region else "neither"
            raise ValueError(f"{where} has {given} of box and mask, expected one")
        entry = dict(region)
        if "mask" in region:
            entry["mask"] = _encoded(_read_mask(where, path.parent, region["mask"]))
        _check_values(where, entry)
        entries.append(entry)
    return found["prompt"], entries


def are_entries(found: object) -> bool:
    """Whether a record's regions are what `read_layout` gives."""
    if not isinstance(found, list):
        return False
    try:
        for entry in found:
            _check("a region", entry, _REGION, ("prompt",))
            _check_values("a region", entry)
            if ("box" in entry) == ("mask" in entry):
                return False
        regions_of(found)
    except (ValueError, TypeError, OSError, Image.DecompressionBombError):
        return False
    return True


def regions_of(entries: list[Entry]) -> list[Region]:
    """The regions that a record holds."""
    regions = []
    for entry in entries:
        box = tuple(entry["box"]) if "box" in entry else None
        mask = _decoded(entry["mask"]) if "mask" in entry else None
        regions.append(Region(entry["prompt"], box, mask, entry.get("weight", 1.0)))  # type: ignore[arg-type]
    return regions


def _check(where: str, found: Any, known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    """Raises `ValueError` for what is no object, lacks a key, or has one that is not known."""
    if not isinstance(found, Mapping):
        raise ValueError(f"{where} is a {type(found).__name__}, expected an object")
    for name in found:
        if name not in known:
            raise ValueError(
                f"{where} has '{name}', expected {', '.join(known)}.{nearest(name, known)}"
            )
    for name in needed:
        if name not in found:
            raise ValueError(f"{where} lacks '{name}'")


def _check_values(where: str, entry: Entry) -> None:
    """Raises `ValueError` for a prompt that is no text, and a box or a weight that is no number."""
    if not isinstance(entry["prompt"], str):
        raise ValueError(f"{where} has the prompt {entry['prompt']!r}, expected a text")
    box, weight = entry.get("box", [0, 0, 1, 1]), entry.get("weight", 1)
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(f"{where} has the box {box!r}, expected [left, top, right, bottom]")
    if not _is_number(weight):
        raise ValueError(f"{where} has the weight {weight!r}, expected a number")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_mask(where: str, folder: Path, name: Any) -> Bool[np.ndarray, "h w"]:
    if not isinstance(name, str):
        raise ValueError(f"{where} has the mask {name!r}, expected the name of a file")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{where} names the mask '{path}', which is not there")
    return read_image(path).mean(axis=-1) >= 127.5


def _encoded(mask: Bool[np.ndarray, "h w"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(mask).convert("1").save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _decoded(text: str) -> Bool[np.ndarray, "h w"]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))).convert("1"), bool)
