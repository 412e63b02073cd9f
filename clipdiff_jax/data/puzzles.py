"""Pictures as puzzles: cut into equal squares, turned by quarters, shuffled, some left out.

DiffAssemble (Scarpellini et al. 2024, arXiv 2402.19302, section 3). A piece's pose is

    x = (u, v, cos a, sin a)                                                               (1)

where (u, v) is the centre of its cell on a grid whose first and last cells are at -1 and 1 (u along
a row of the picture, v down its columns), and a = 90 k degrees the quarter turns that were applied
to it, counter-clockwise. Without turns it is (u, v) alone. Cells are counted row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float32, Int, Shaped, UInt8

from clipdiff_jax.core.checks import check_number, one_of, whole_number
from clipdiff_jax.data.graphs import degree_of, expander
from clipdiff_jax.data.transforms import Transform, square

QUARTERS = 4
FEWEST = 2  # pieces of a puzzle
SMALLEST_GRID = 2
Background = Literal["plain", "texture"]
TEXTURE_WAVES, TEXTURE_LEVELS = 6, 20.0
Piece = UInt8[np.ndarray, "s s 3"]
PiecesOf = UInt8[np.ndarray, "p s s 3"]


class Size(NamedTuple):
    """How many cells a puzzle has, down and across."""

    rows: int
    columns: int

    @property
    def cells(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class Puzzles:
    """How pictures are cut into puzzles.

    Attributes:
      grids: pieces along a side; each puzzle draws one of them.
      turns: whether pieces are turned by quarters.
      missing: shares of the pieces that are left out; each puzzle draws one of them.
      background: "texture" adds a smooth random field to the picture before it is cut, by which
        pieces of a flat background differ.
      share: of the other pieces that each piece sees, in a random regular graph drawn anew for
        every puzzle; None for all of them.
    """

    grids: tuple[int, ...] = (4,)
    turns: bool = True
    missing: tuple[float, ...] = (0.0,)
    background: Background = "plain"
    share: float | None = None

    def __post_init__(self) -> None:
        if not self.grids or not self.missing:
            raise ValueError("grids and missing name what to draw from, and one of them is empty")
        for grid in self.grids:
            whole_number("grids", grid, low=SMALLEST_GRID)
        for missing in self.missing:
            check_number("missing", missing, low=0, high=1)
            kept = kept_of(min(self.grids) ** 2, missing)
            if kept < FEWEST:
                raise ValueError(
                    f"missing={missing:g} leaves {kept} of the {min(self.grids) ** 2} pieces of a "
                    f"puzzle, expected at least {FEWEST}"
                )
        one_of("background", self.background, get_args(Background))
        if self.share is not None:
            check_number("share", self.share, above=0, high=1)

    @property
    def most_pieces(self) -> int:
        """The number of pieces of the largest puzzle."""
        return max(self.grids) ** 2


def kept_of(count: int, missing: float) -> int:
    """How many of `count` pieces are there where a share of them is missing."""
    return count - round(count * missing)


def cut(picture: UInt8[np.ndarray, "h w 3"], size: Size) -> PiecesOf:
    """The pieces of a picture, row by row; every one is square.

    Raises `ValueError` for a picture whose sides are no whole numbers of equal squares.
    """
    height, width = picture.shape[:2]
    side = height // size.rows
    if side < 1 or (side * size.rows, side * size.columns) != (height, width):
        raise ValueError(
            f"a picture of {height}x{width} pixels is not {size.rows}x{size.columns} equal squares"
        )
    rows = picture.reshape(size.rows, side, size.columns, side, 3)
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(size.cells, side, side, 3))


def turn(piece: Piece, quarters: int) -> Piece:
    """The piece turned counter-clockwise by so many quarters."""
    return np.rot90(piece, quarters)


def shuffled(
    pieces: PiecesOf, rng: np.random.Generator, *, turns: bool = True, missing: float = 0.0
) -> tuple[UInt8[np.ndarray, "q s s 3"], Int[np.ndarray, " q"], Int[np.ndarray, " q"]]:
    """(pieces, cells, turns): the pieces in a random order, each turned at random, and where and
    how each of them lay.

    missing: the share that is left out. Raises `ValueError` where fewer than two are left.
    """
    kept = kept_of(len(pieces), missing)
    if kept < FEWEST:
        raise ValueError(f"{kept} of {len(pieces)} pieces are left, expected at least {FEWEST}")
    cells = rng.permutation(len(pieces))[:kept]
    quarters = rng.integers(QUARTERS if turns else 1, size=kept)
    turned = [turn(pieces[cell], int(k)) for cell, k in zip(cells, quarters, strict=True)]
    return np.stack(turned), cells, quarters


def joined(
    pieces: PiecesOf,
    cells: Int[np.ndarray, " p"],
    turns: Int[np.ndarray, " p"],
    size: Size,
    background: int = 0,
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of pieces that lie in these cells once these turns are taken back.

    background: the grey level of cells that no piece lies in.
    """
    side = pieces.shape[1]
    grid = np.full((size.cells, side, side, 3), background, np.uint8)
    for piece, cell, quarters in zip(pieces, cells, turns, strict=True):
        grid[cell] = turn(piece, -int(quarters))
    rows = grid.reshape(size.rows, size.columns, side, side, 3).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(size.rows * side, size.columns * side, 3))


def centres(size: Size) -> Float32[np.ndarray, "cells 2"]:
    """(u, v) of every cell, eq. 1; the only cell along an axis is at 0."""
    along = lambda count: np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    v, u = np.meshgrid(along(size.rows), along(size.columns), indexing="ij")
    return np.stack([u.ravel(), v.ravel()], -1).astype(np.float32)


def poses(
    cells: Int[np.ndarray, " p"], turns: Int[np.ndarray, " p"], size: Size, with_turns: bool = True
) -> Float32[np.ndarray, "p d"]:
    """Eq. 1 of pieces: [P,4], or [P,2] without turns."""
    places = centres(size)[cells]
    if not with_turns:
        return places
    angle = turns * (np.pi / 2)
    facing = np.round(np.stack([np.cos(angle), np.sin(angle)], -1)).astype(np.float32)
    return np.concatenate([places, facing], -1)


def textured(picture: UInt8[np.ndarray, "h w 3"], name: str) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with a smooth random field on it, which is a function of the name.

    Six cosines of low frequency, of random direction, phase and colour, 20 grey levels in all.
    """
    rng = np.random.default_rng(list(name.encode()))
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    field = np.zeros((height, width, 3))
    for _ in range(TEXTURE_WAVES):
        down, across = rng.uniform(-2.5, 2.5, 2)
        phase = rng.uniform(0, 2 * np.pi, 3)
        wave = np.cos(2 * np.pi * (down * y + across * x)[..., None] + phase)
        field += rng.uniform(0.3, 1, 3) * wave
    field *= TEXTURE_LEVELS / np.abs(field).max()
    return np.clip(np.round(picture + field), 0, 255).astype(np.uint8)


def padded(
    values: Shaped[np.ndarray, " p *each"], count: int, fill: int = 0
) -> Shaped[np.ndarray, " q *each"]:
    """What there is of each piece, and `fill` behind, up to `count` pieces."""
    return np.concatenate(
        [values, np.full((count - len(values), *values.shape[1:]), fill, values.dtype)]
    )


def puzzle_transform(config: Puzzles, piece: int, max_pieces: int) -> Transform:
    """Returns the transform from a picture to a puzzle of pieces of `piece` pixels.

    It gives, with P = `max_pieces` of which the last may be padding,

      pieces  uint8 [P,s,s,3]   in a random order, so that it carries nothing
      pose    float32 [P,4]     eq. 1 ([P,2] without turns)
      mask    bool [P]          which pieces are there
      cells   int32 [P]         where each lies; -1 for padding
      size    int32 [2]         rows and columns
      edges   bool [P,P]        which pieces see each other, where a `share` is given

    Raises `ValueError` where the largest grid has more pieces than `max_pieces`.
    """
    if config.most_pieces > max_pieces:
        raise ValueError(
            f"a grid of {max(config.grids)} has {config.most_pieces} pieces, more than the "
            f"{max_pieces} of the model (max_pieces)"
        )
    return partial(_puzzle, config=config, piece=piece, max_pieces=max_pieces)


def _puzzle(
    example: dict[str, Any],
    rng: np.random.Generator,
    config: Puzzles,
    piece: int,
    max_pieces: int,
) -> dict[str, Any]:
    grid = int(rng.choice(config.grids))
    size = Size(grid, grid)
    picture = square(example["image"], grid * piece)
    if config.background == "texture":
        picture = textured(picture, str(example.get("name", picture.tobytes()[:64].hex())))
    missing = float(rng.choice(config.missing))
    pieces, cells, quarters = shuffled(cut(picture, size), rng, turns=config.turns, missing=missing)
    count = len(pieces)
    puzzle: dict[str, Any] = {
        "pieces": padded(pieces, max_pieces),
        "pose": padded(poses(cells, quarters, size, config.turns), max_pieces),
        "mask": np.arange(max_pieces) < count,
        "cells": padded(cells, max_pieces, -1).astype(np.int32),
        "size": np.asarray(size, np.int32),
    }
    if config.share is not None:
        puzzle["edges"] = sparse_edges(count, max_pieces, config.share, rng)
    return puzzle


def sparse_edges(
    count: int, max_pieces: int, share: float, rng: np.random.Generator
) -> Bool[np.ndarray, "p p"]:
    """A random regular graph among the first `count` of the pieces, see `data.graphs`."""
    edges = np.zeros((max_pieces, max_pieces), bool)
    edges[:count, :count] = expander(count, degree_of(count, share), rng)
    return edges


def read_size(text: str) -> Size:
    """The grid that "6" or "4x6" (rows x columns) names.

    Raises `ValueError` for another text and for fewer than two pieces.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"grid {text!r}, expected a number such as 4, or ROWSxCOLUMNS such as 3x4")
    size = Size(int(parts[0]), int(parts[-1]))
    if min(size) < 1 or size.cells < FEWEST:
        raise ValueError(f"grid {text!r} has {size.cells} piece(s), expected at least {FEWEST}")
    return size


def square_of(count: int) -> Size:
    """The square grid of so many pieces. Raises `ValueError` where they are no square."""
    side = round(count**0.5)
    if side * side != count:
        raise ValueError(
            f"{count} pieces fill no square grid: say which grid they are of (grid=(rows, columns))"
        )
    return Size(side, side)


def as_pieces(pieces: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> PiecesOf:
    """Pieces in one array. Raises `ValueError` where they are not squares of one size, or fewer
    than two."""
    sizes = sorted({one.shape[:2] for one in pieces})
    if len(sizes) > 1:
        shown = ", ".join(f"{height}x{width}" for height, width in sizes[:4])
        raise ValueError(f"pieces have different sizes ({shown}), expected one")
    if len(pieces) < FEWEST:
        raise ValueError(f"{len(pieces)} piece(s), expected at least {FEWEST}")
    height, width = sizes[0]
    if height != width:
        raise ValueError(f"pieces are {height}x{width} pixels, expected squares")
    return np.stack(pieces)
