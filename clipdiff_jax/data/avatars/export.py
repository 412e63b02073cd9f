"""Avatars as an ordinary image folder: PNG files and their captions in `metadata.jsonl`.

The folder is what `FolderData` reads.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from clipdiff_jax.data.avatars.source import AvatarsData, open_avatars
from clipdiff_jax.data.select import matching


def export(config: AvatarsData, count: int, only: Sequence[str], out: Path) -> int:
    """Writes the first `count` faces that fit `only` (see `data.select`); returns how many.

    Raises `ValueError` if none fits.
    """
    chosen = list(islice(matching(open_avatars(config), only), count))
    if not chosen:
        raise ValueError(f"none of {config.count} faces is {', '.join(only)}")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, example in enumerate(chosen):
        name = f"{number:04d}.png"
        Image.fromarray(example["image"]).save(out / name)
        record = {
            "file_name": name,
            "captions": example["captions"],
            "attributes": example["attributes"],
        }
        lines.append(json.dumps(record))
    (out / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return len(chosen)
