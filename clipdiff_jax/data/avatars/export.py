"""Avatars as an ordinary image folder: PNG files and their captions in `metadata.jsonl`.

The folder is what `FolderData` reads. Only the faces that are written are rendered.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from PIL import Image

from clipdiff_jax.data.avatars.faces import labels, render
from clipdiff_jax.data.avatars.source import AvatarsData, captions_of, fingerprint_of, stream
from clipdiff_jax.data.select import fitting


def export(config: AvatarsData, count: int, only: Sequence[str], out: Path) -> int:
    """Writes the first `count` faces that fit `only` (see `data.select`); returns how many.

    Raises `ValueError` if none fits.
    """
    fits, fingerprint = fitting(only), fingerprint_of(config)
    numbered = ((index, face, labels(face)) for index, face in enumerate(stream(config)))
    chosen = list(islice((one for one in numbered if fits(one[2])), count))
    if not chosen:
        raise ValueError(f"none of {config.count} faces is {', '.join(only)}")
    out.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (index, face, attributes) in enumerate(chosen):
        name = f"{number:04d}.png"
        Image.fromarray(render(face, config.size)).save(out / name)
        record = {
            "file_name": name,
            "captions": captions_of(face, index, fingerprint),
            "attributes": attributes,
        }
        lines.append(json.dumps(record))
    (out / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    return len(chosen)
