"""What a walk comes to: poses read as cells and turns, and the picture that they make.

Pieces take cells greedily, as DiffAssemble has it (arXiv 2402.19302): of all pieces and cells that
are left, the two nearest go together. Pieces that look alike are predicted where they are on
average, between their cells. So pieces that are sure of their place come first, and those that are
not get what is left; the assignment of the least sum of squares would move sure pieces to make
room for them, which costs the demo 7 % of its pieces (docs/reassembly.md). Turns are snapped to
the nearest quarter.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int, UInt8

from clipdiff_jax.data.puzzles import QUARTERS, Size, centres, joined


@dataclass(frozen=True, eq=False)
class Answer:
    """Where the P pieces of a puzzle belong.

    Attributes:
      pieces: as they were given.
      size: rows and columns.
      poses: (u, v, cos, sin) of each, or (u, v), see `data.puzzles`.
      path: the poses after each of S steps.
      guesses: what the network takes for the clean poses, before each step.
    """

    pieces: UInt8[np.ndarray, "p s s 3"]
    size: Size
    poses: Float[np.ndarray, "p d"]
    path: Float[np.ndarray, "steps p d"]
    guesses: Float[np.ndarray, "guesses p d"]

    @functools.cached_property
    def cells(self) -> Int[np.ndarray, " p"]:
        """The cell of each piece, counted row by row."""
        return assign(self.poses[:, :2], self.size)

    @functools.cached_property
    def turns(self) -> Int[np.ndarray, " p"]:
        """The quarters by which each was turned counter-clockwise, and has to be turned back."""
        return read_turns(self.poses)

    @property
    def spread(self) -> Int[np.ndarray, " p"]:
        """Cells to show the pieces in as they were handed in: row by row, over the whole grid."""
        return np.linspace(0, self.size.cells - 1, len(self.pieces)).astype(int)

    @property
    def shuffled(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pieces as they were handed in."""
        return joined(self.pieces, self.spread, np.zeros_like(self.spread), self.size)

    @property
    def picture(self) -> UInt8[np.ndarray, "h w 3"]:
        """The pieces in their cells; those that no piece lies in are black."""
        return joined(self.pieces, self.cells, self.turns, self.size)

    @property
    def one_shot(self) -> "Answer":
        """The answer without the walk: the network's first guess."""
        return replace(self, poses=self.guesses[0], path=self.path[:0], guesses=self.guesses[:1])


def assign(places: Float[np.ndarray, "p 2"], size: Size) -> Int[np.ndarray, " p"]:
    """The cell of each piece. Raises `ValueError` for more pieces than cells."""
    if len(places) > size.cells:
        raise ValueError(f"{len(places)} pieces do not fit into {size.cells} cells")
    distances = ((places[:, None] - centres(size)) ** 2).sum(-1)
    cells = np.zeros(len(places), int)
    for _ in places:
        piece, cell = np.unravel_index(distances.argmin(), distances.shape)
        cells[piece] = cell
        distances[piece], distances[:, cell] = np.inf, np.inf
    return cells


def read_turns(poses: Float[np.ndarray, "p d"]) -> Int[np.ndarray, " p"]:
    """The nearest quarters; 0 for poses without turns."""
    if poses.shape[1] < 4:
        return np.zeros(len(poses), int)
    angle = np.arctan2(poses[:, 3], poses[:, 2])
    return np.round(angle / (np.pi / 2)).astype(int) % QUARTERS
