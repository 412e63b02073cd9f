"""Charts, drawn with pillow: curves over steps, and bars with their intervals.

For a first look at a run or a measurement, without another dependency; the numbers themselves are
in the files beside them.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

from clipdiff_jax.core.checks import Number
from clipdiff_jax.core.lettering import Lettering

PANEL = 480, 270  # pixels of a panel
COLUMNS = 2
MOST_POINTS = 400  # of a curve; more are averaged
_TEXT, _GAP, _LEFT = 13, 12, 70
_LINE, _FAINT, _AXIS = (31, 90, 180), (214, 214, 214), (120, 120, 120)
_SCALE = 2  # drawn larger and reduced, so that lines are smooth


class Value(NamedTuple):
    """A number, and half of its interval; None where that is not known."""

    number: float
    interval: float | None = None


def curves(series: Mapping[str, Sequence[tuple[Number, Number]]]) -> Image.Image:
    """A panel for each name: its values (x, y) as a curve.

    Values that are not finite are left out. Raises `ValueError` for nothing to draw.
    """
    if not series:
        raise ValueError("there are no values to draw")
    width, height = PANEL
    columns = min(COLUMNS, len(series))
    rows = -(-len(series) // columns)
    canvas = Image.new("RGB", (columns * width, rows * height), "white")
    for index, (name, points) in enumerate(series.items()):
        panel = _curve(name, np.array(points, np.float64).reshape(-1, 2))
        canvas.paste(panel, (index % columns * width, index // columns * height))
    return canvas


def bars(labels: Sequence[str], columns: Mapping[str, Sequence[Value]]) -> Image.Image:
    """A panel for each column of a table: a bar for each of its rows, with the row's label.

    Raises `ValueError` for a column that has not as many values as there are labels, and for
    nothing to draw.
    """
    if not labels or not columns:
        raise ValueError("there are no values to draw")
    for name, values in columns.items():
        if len(values) != len(labels):
            raise ValueError(f"'{name}' has {len(values)} values for {len(labels)} labels")
    letters = Lettering(_TEXT)
    panels = [_bars(letters, name, labels, values) for name, values in columns.items()]
    across = min(COLUMNS, len(panels))
    rows = -(-len(panels) // across)
    width, height = panels[0].size
    canvas = Image.new("RGB", (across * width, rows * height), "white")
    for index, panel in enumerate(panels):
        canvas.paste(panel, (index % across * width, index // across * height))
    return canvas


def _curve(name: str, points: Float[np.ndarray, "n 2"]) -> Image.Image:
    width, height = PANEL
    points = points[np.isfinite(points).all(axis=1)]
    letters = Lettering(_TEXT)
    left, top, right, bottom = _LEFT, 2 * letters.line, width - 2 * _GAP, height - 2 * letters.line
    if not len(points):
        panel = Image.new("RGB", PANEL, "white")
        letters.write(ImageDraw.Draw(panel), (left, _GAP // 2), f"{name}: nothing finite")
        return panel
    low_x, high_x = _range(points[:, 0])
    low_y, high_y = _range(points[:, 1])
    place = lambda x, y: (
        left + (x - low_x) / (high_x - low_x) * (right - left),
        bottom - (y - low_y) / (high_y - low_y) * (bottom - top),
    )
    large = Image.new("RGB", (width * _SCALE, height * _SCALE), "white")
    pen = ImageDraw.Draw(large)
    scaled = lambda x, y: tuple(_SCALE * one for one in (x, y))
    ticks_x, ticks_y = _ticks(low_x, high_x), _ticks(low_y, high_y)
    for y in ticks_y:
        pen.line([scaled(left, place(low_x, y)[1]), scaled(right, place(low_x, y)[1])], _FAINT)
    pen.line([scaled(left, bottom), scaled(right, bottom)], _AXIS, _SCALE)
    drawn = [scaled(*place(x, y)) for x, y in _fewer(points)]
    if len(drawn) > 1:
        pen.line(drawn, _LINE, 2 * _SCALE, joint="curve")
    x, y = drawn[-1]
    pen.ellipse([x - 3 * _SCALE, y - 3 * _SCALE, x + 3 * _SCALE, y + 3 * _SCALE], _LINE)
    panel = large.resize(PANEL, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(panel)
    letters.write(pen, (left, _GAP // 2), letters.fitted(f"{name}: {points[-1, 1]:.4g}", right))
    for y in ticks_y:
        letters.write(pen, (left - 6, place(low_x, y)[1]), f"{y:.4g}", "rm")
    for x in ticks_x:
        letters.write(pen, (place(x, low_y)[0], bottom + 4), _whole(x), "ma")
    return panel


def _bars(
    letters: Lettering, name: str, labels: Sequence[str], values: Sequence[Value]
) -> Image.Image:
    width, pitch = PANEL[0], 2 * letters.line
    beside = min(max(letters.width(label) for label in labels), width // 2) + _GAP
    room = letters.width("-0.0000 ± 0.0000") + _GAP
    panel = Image.new("RGB", (width, 2 * letters.line + pitch * len(labels) + _GAP), "white")
    pen = ImageDraw.Draw(panel)
    letters.write(pen, (_GAP, _GAP // 2), letters.fitted(name, width - 2 * _GAP))
    reach = [abs(v.number) + (v.interval or 0) for v in values if math.isfinite(v.number)]
    largest = max(reach, default=0) or 1.0
    negative = any(v.number < 0 for v in values)
    left, right = beside + _GAP, width - room
    zero = (left + right) // 2 if negative else left
    unit = (right - zero) / largest
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        middle = 2 * letters.line + pitch * index + pitch // 2
        fitted = letters.fitted(label, beside - _GAP)
        letters.write(pen, (beside, middle), fitted, "rm")
        if not math.isfinite(value.number):
            letters.write(pen, (right + 6, middle), "not finite", "lm")
            continue
        end = zero + value.number * unit
        half = letters.line // 2
        pen.rectangle([min(zero, end), middle - half, max(zero, end), middle + half], _LINE)
        text = f"{value.number:.4g}"
        if value.interval is not None and math.isfinite(value.interval):
            spread = value.interval * unit
            pen.line([end - spread, middle, end + spread, middle], "black", 2)
            for x in (end - spread, end + spread):
                pen.line([x, middle - half // 2, x, middle + half // 2], "black", 2)
            text += f" ± {value.interval:.2g}"
        letters.write(pen, (right + 6, middle), text, "lm")
    pen.line([zero, 2 * letters.line, zero, panel.height - _GAP], _AXIS)
    return panel


def _range(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """From the least to the largest, or a little around the only one."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        around = abs(low) * 0.1 or 0.5
        return low - around, high + around
    return low, high


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers within a range, about so many."""
    step = (high - low) / count
    power = 10.0 ** math.floor(math.log10(step))
    step = next((s * power for s in (1, 2, 5) if s * power >= step), 10 * power)
    first = math.ceil(low / step)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _fewer(points: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "m 2"]:
    """At most `MOST_POINTS`, each the mean of those that it stands for."""
    if len(points) <= MOST_POINTS:
        return points
    return np.stack([part.mean(axis=0) for part in np.array_split(points, MOST_POINTS)])


def _whole(value: Number) -> str:
    """A number of steps: "500", "20k", "1.5M"."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * size or (abs(value) >= size and value % size == 0):
            return f"{value / size:g}{letter}"
    return f"{value:g}"
