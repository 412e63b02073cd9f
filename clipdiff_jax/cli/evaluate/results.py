"""What the measurements of `clipdiff evaluate` share: options, batches, and result files."""

import argparse
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clipdiff_jax.cli.arguments import check_at_least, check_between
from clipdiff_jax.cli.options import option_name
from clipdiff_jax.cli.saying import finite, tell
from clipdiff_jax.core import charts
from clipdiff_jax.core.batching import batch_count, filled_batches
from clipdiff_jax.core.charts import Value
from clipdiff_jax.core.files import json_bytes, write_whole
from clipdiff_jax.core.keys import HIGHEST_SEED
from clipdiff_jax.core.progress import bar
from clipdiff_jax.data.transforms import square
from clipdiff_jax.metrics.folders import OnError
from clipdiff_jax.metrics.uncertainty import Measured, bootstrap
from clipdiff_jax.pictures.grid import Grid

SHOWN = 10  # pictures in a row of the grid
LARGEST_SHOWN = 256
_DIGITS = r"(-?[\d.]+(?:e[+-]?\d+)?|-?inf|nan)%?"
_NUMBER = re.compile(rf"{_DIGITS}(?: ± {_DIGITS})?(?: \(.*\))?")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of measurements that run a model on held-out faces."""
    parser.add_argument("--model", default="demo", help="the model: 'demo' (default) or a folder")
    parser.add_argument("--count", type=int, default=200, metavar="N", help="held-out faces (200)")
    add_result_options(parser, batch_size=16)


def add_result_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """The options of every measurement."""
    parser.add_argument(
        "--batch-size", type=int, default=batch_size, metavar="N",
        help=f"pictures computed at once ({batch_size})",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the results"
    )


def add_reading_options(parser: argparse.ArgumentParser) -> None:
    """What to do about pictures of a folder that cannot be read."""
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop",
        help="what to do about pictures that cannot be read (default: stop; skip names them)",
    )  # fmt: skip


def reading(args: argparse.Namespace) -> OnError:
    """The same for `metrics.folders`."""
    return "skip" if args.on_error == "skip" else "raise"


def check_options(args: argparse.Namespace) -> None:
    """Raises `ValueError` for numbers that cannot be."""
    for name in ("batch_size", "count", "each", "rounds", "size"):
        if getattr(args, name, None) is not None:
            check_at_least(option_name(name), getattr(args, name), 1)
    if hasattr(args, "seed"):
        check_between("--seed", args.seed, 0, HIGHEST_SEED)


def batches(images: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """`filled_batches` with a bar."""
    total = batch_count(len(images), size)
    yield from bar(filled_batches(images, size), "pictures", unit="batch", total=total)


def equal_squares(rows: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Rows of uint8 pictures of any sizes as batches of squares of one side, for a grid."""
    side = min(LARGEST_SHOWN, *(min(image.shape[:2]) for row in rows for image in row))
    return [np.stack([square(image, side) for image in row]) for row in rows]


def mean_of(scores: Sequence[float] | np.ndarray) -> Measured:
    """The mean of those that are finite: pictures that are identical have an infinite PSNR. Where
    none is, it is that."""
    values = np.asarray(scores, np.float64)
    known = values[np.isfinite(values)]
    return bootstrap(known) if len(known) else Measured(float(values[0]), float("nan"))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def numbers_of(table: str) -> tuple[list[str], dict[str, list[Value]]]:
    """The labels of a markdown table's rows, and its columns of numbers by their titles.

    A column is one of numbers where each of its cells is one, perhaps with its interval behind "±"
    and with what it is compared with in brackets; the first is none, and neither is one of whole
    numbers, which say how much was measured. All other cells of a row are its label.
    """
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in table.splitlines()
        if line.strip().startswith("|")
    ]
    header, rows = rows[0], rows[2:]
    columns: dict[str, list[Value]] = {}
    others = []
    for index, title in enumerate(header):
        cells = [row[index] for row in rows]
        found = [_NUMBER.fullmatch(cell) for cell in cells]
        if index and rows and all(found) and not all(cell.isdecimal() for cell in cells):
            unit = ", %" if "%" in cells[0] else ""
            columns[title + unit] = [_value(one) for one in found if one is not None]
        else:
            others.append([f"{title} {cell}" if cell.isdecimal() else cell for cell in cells])
    return [", ".join(cells) for cells in zip(*others, strict=True)], columns


def _value(found: re.Match[str]) -> Value:
    return Value(float(found[1]), None if found[2] is None else float(found[2]))


def write_results(out: Path, scores: object, table: str, grid: Grid) -> None:
    """Writes `scores.json`, `scores.md`, `plot.png` and `grid.png` into the folder and prints the
    table. The plot has a bar for each number of the table."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "scores.json", json_bytes(finite(scores)))
    write_whole(out / "scores.md", table.encode())
    write_whole(out / "grid.png", grid.png())
    names = ["scores.json", "scores.md", "grid.png"]
    labels, columns = numbers_of(table)
    if columns:
        buffer = io.BytesIO()
        charts.bars(labels, columns).save(buffer, "PNG")
        write_whole(out / "plot.png", buffer.getvalue())
        names.append("plot.png")
    written = [str(out / name) for name in names]
    tell(table.removesuffix("\n"), scores=finite(scores), files=written)
