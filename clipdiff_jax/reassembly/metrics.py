"""How right the answers to puzzles are.

direct    share of pieces in their own cell and, where there are turns, turned right
perfect   share of puzzles with all pieces right
picture   share of cells that look as in the original (mean difference below 2 grey levels):
          pieces that look alike may be swapped, and those with a symmetry turned

The first two are DiffAssemble's (arXiv 2402.19302, section 4.1): its "direct comparison", in which
a turn is right within 45 degrees, that is, where the nearest quarter is.
"""

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.data.puzzles import Size, cut, joined
from clipdiff_jax.data.transforms import Transform, first_examples
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.reassembly.answer import assign, read_turns
from clipdiff_jax.reassembly.fragments import FragmentScores
from clipdiff_jax.reassembly.model import Reassembly, walk

ALIKE = 2.0  # grey levels
BATCH = 64
Cells = Int[np.ndarray, " p"]


@dataclass(frozen=True)
class Scores:
    """Means over puzzles. position: the share of pieces in their own cell, however turned."""

    position: float
    direct: float
    perfect: float
    picture: float


S = TypeVar("S", Scores, FragmentScores)


def right_pieces(
    cells: Cells, turns: Cells, true_cells: Cells, true_turns: Cells
) -> Bool[np.ndarray, " p"]:
    """Which pieces lie in their own cell, turned right."""
    return (cells == true_cells) & (turns == true_turns)


def right_cells(
    picture: UInt8[np.ndarray, "h w 3"], truth: UInt8[np.ndarray, "h w 3"], size: Size
) -> Bool[np.ndarray, " cells"]:
    """Which cells look as they should."""
    difference = np.abs(cut(picture, size).astype(float) - cut(truth, size))
    return difference.mean((1, 2, 3)) < ALIKE


def score(puzzle: dict[str, Any], pose: Float[np.ndarray, "p d"]) -> Scores:
    """Of one puzzle, as the data's transform gives it, and the poses that were found."""
    count = int(puzzle["mask"].sum())
    size = Size(*map(int, puzzle["size"]))
    pieces, true_cells = puzzle["pieces"][:count], puzzle["cells"][:count]
    true_turns = read_turns(puzzle["pose"][:count])
    cells, turns = assign(pose[:count, :2], size), read_turns(pose[:count])
    right = right_pieces(cells, turns, true_cells, true_turns)
    looks = right_cells(
        joined(pieces, cells, turns, size), joined(pieces, true_cells, true_turns, size), size
    )
    filled = np.isin(np.arange(size.cells), true_cells)  # a cell of a missing piece shows nothing
    return Scores(
        float((cells == true_cells).mean()),
        float(right.mean()),
        float(right.all()),
        float(looks[filled].mean()),
    )


def mean_scores(scores: list[S]) -> S:
    """The mean of each."""
    mean = lambda name: float(np.mean([getattr(one, name) for one in scores]))
    return type(scores[0])(*(mean(one.name) for one in fields(scores[0])))


def measure(
    model: Reassembly,
    source: Any,
    transform: Transform,
    count: int,
    sampling: Sampling,
    keys: Key[Array, " n"] | None = None,
) -> tuple[Scores, Scores]:
    """(the walk's, the first guess's) scores on the first `count` examples of a source.

    transform: to puzzles; example i is cut and turned by a generator of its own, so that two models
        see the same puzzles. keys: one for each puzzle, see `Reassembly.solve`.
    """
    puzzles = first_examples(source, transform, count)
    walked: list[Scores] = []
    guessed: list[Scores] = []
    for index, new in filled_batches(np.arange(count), min(BATCH, count)):
        batch = {name: values[index] for name, values in puzzles.items()}
        x, trace = walk(model, batch, sampling, None if keys is None else keys[index])
        x, first = jax.device_get((x, trace.x0[0]))
        for i in range(new):
            puzzle = {name: values[i] for name, values in batch.items()}
            walked.append(score(puzzle, x[i]))
            guessed.append(score(puzzle, first[i]))
    return mean_scores(walked), mean_scores(guessed)
