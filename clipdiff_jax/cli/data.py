"""Writes avatars as an ordinary image folder: PNG files and their captions in `metadata.jsonl`.

    clipdiff data --split test --count 8 --only mouth=serious --out faces/

The folder is what `FolderData` reads and `sample.py edit` takes.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import get_args

from PIL import Image

from clipdiff_jax.data.avatars.faces import Split
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


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status, 2 for what the user can put right."""
    parser = argparse.ArgumentParser(prog="clipdiff_jax.cli.data", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--split", choices=get_args(Split), default="test")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--count", type=int, default=8, help="how many faces")
    parser.add_argument("--styles", nargs="+", default=["avataaars"], help="art styles")
    parser.add_argument("--only", nargs="*", default=[], help="conditions: attribute=word|word")
    args = parser.parse_args(argv)
    # Conditions may fit few: look through fifty faces for each one wanted.
    try:
        config = AvatarsData(
            size=args.size,
            split=args.split,
            count=args.count * (50 if args.only else 1),
            styles=tuple(args.styles),
        )
        written = export(config, args.count, args.only, args.out)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{written} faces in {args.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
