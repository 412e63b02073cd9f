"""What the subcommands of `evaluate.py` share: their common options, batches, and result files."""

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from clipdiff_jax.core.batching import batch_count, filled_batches
from clipdiff_jax.core.files import write_whole
from clipdiff_jax.data.transforms import square, to_float
from clipdiff_jax.pictures.grid import Grid

SHOWN = 10  # pictures in a row of the grid
LARGEST_SHOWN = 256


def add_model_options(parser: argparse.ArgumentParser, *, step_counts: bool = False) -> None:
    """The options of subcommands that run a model on held-out faces.

    step_counts: `--steps` takes several.
    """
    parser.add_argument("--model", default="demo", help="the model: 'demo' or a folder")
    if step_counts:
        parser.add_argument("--steps", type=int, nargs="+", default=[40])
    else:
        parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--count", type=int, default=200, help="held-out faces")
    add_result_options(parser, batch_size=16)


def add_result_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """The options of every subcommand."""
    parser.add_argument("--batch-size", type=int, default=batch_size)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")


def batches(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """`filled_batches` with a bar."""
    total = batch_count(len(images), size)
    yield from tqdm(filled_batches(images, size), unit="batch", total=total)


def equal_squares(rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Rows of uint8 pictures of any sizes as batches of squares of one side, for a grid."""
    side = min(LARGEST_SHOWN, *(min(image.shape[:2]) for row in rows for image in row))
    return [np.stack([to_float(square(image, side)) for image in row]) for row in rows]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def write_results(out: Path, scores: object, table: str, grid: Grid) -> None:
    """Writes `scores.json`, `scores.md` and `grid.png` into the folder and prints the table."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "scores.json", (json.dumps(scores, indent=2) + "\n").encode())
    write_whole(out / "scores.md", table.encode())
    grid.save(str(out / "grid.png"))
    print(table, end="")
