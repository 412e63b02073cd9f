"""Pieces as people hand them in, as the puzzle that a model takes."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clipdiff_jax.core.checks import Whole, whole_number
from clipdiff_jax.data.image_files import rgb
from clipdiff_jax.data.puzzles import FEWEST, PiecesOf, Size, as_pieces, padded, square_of
from clipdiff_jax.data.transforms import square, to_uint8
from clipdiff_jax.models.poses import PosesConfig

Grid = Whole | tuple[Whole, Whole] | None
logger = logging.getLogger(__name__)


class Puzzle(NamedTuple):
    """One puzzle. pieces: of the model's size. shown: as they were given."""

    pieces: PiecesOf
    shown: PiecesOf
    size: Size

    def batch(self, max_pieces: int) -> dict[str, np.ndarray]:
        """A batch of this puzzle alone, as the data's transform gives them."""
        return {
            "pieces": padded(self.pieces, max_pieces)[None],
            "mask": (np.arange(max_pieces) < len(self.pieces))[None],
            "size": np.asarray(self.size, np.int32)[None],
        }


def as_puzzle(pieces: object, grid: Grid, config: PosesConfig) -> Puzzle:
    """Raises `ValueError` and `TypeError` that say what is wrong with pieces or grid."""
    shown = as_pieces(_read(pieces))
    size = square_of(len(shown)) if grid is None else as_size(grid)
    if len(shown) > size.cells:
        raise ValueError(
            f"{len(shown)} pieces are more than the {size.cells} cells of a grid of "
            f"{size.rows}x{size.columns}"
        )
    if len(shown) > config.max_pieces:
        raise ValueError(
            f"{len(shown)} pieces are more than the {config.max_pieces} that the model takes "
            "(max_pieces)"
        )
    if config.grids and (size.rows != size.columns or size.rows not in config.grids):
        trained = ", ".join(f"{grid}x{grid}" for grid in config.grids)
        logger.warning(
            "the model was trained on puzzles of %s: of %dx%d little can be expected",
            trained, size.rows, size.columns,
        )  # fmt: skip
    if (shown == shown[0]).all():
        logger.warning("all pieces are alike: any arrangement is as good as the answer")
    seen = np.stack([square(one, config.squares.piece) for one in shown])
    return Puzzle(seen, shown, size)


def as_size(grid: Whole | tuple[Whole, Whole]) -> Size:
    """Rows and columns. Raises `ValueError` for fewer than two cells."""
    rows, columns = grid if isinstance(grid, tuple) else (grid, grid)
    size = Size(whole_number("grid", rows), whole_number("grid", columns))
    if min(size) < 1 or size.cells < FEWEST:
        raise ValueError(f"grid={grid!r}, expected at least {FEWEST} cells")
    return size


def crop_to(
    picture: UInt8[np.ndarray, "h w 3"], size: Size, largest: int
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The middle of a picture that is so many equal squares, each of at most `largest` pixels.

    Raises `ValueError` for a picture that has fewer pixels than cells along a side.
    """
    height, width = picture.shape[:2]
    side = min(height / size.rows, width / size.columns)
    if side < 1:
        raise ValueError(
            f"a picture of {height}x{width} pixels is smaller than its grid of "
            f"{size.rows}x{size.columns}"
        )
    pixels = min(int(side), largest)
    across, down = side * size.columns, side * size.rows
    left, top = (width - across) / 2, (height - down) / 2
    cropped = Image.fromarray(picture).resize(
        (pixels * size.columns, pixels * size.rows),
        Image.Resampling.LANCZOS,
        box=(left, top, left + across, top + down),
    )
    return np.asarray(cropped)


def _read(pieces: object) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    if isinstance(pieces, (jax.Array, np.ndarray)):
        shape = list(pieces.shape)
        if pieces.ndim in (2, 3) and shape[-1] == 3:
            raise ValueError(
                f"pieces are {shape}: a whole picture, or point clouds, which a model of solids "
                "takes; this one is of pictures and takes square pieces [P,s,s,3] "
                "(data.puzzles.cut cuts them)"
            )
        if pieces.ndim != 4 or shape[-1] != 3:
            raise ValueError(f"pieces are {shape}, expected [P,s,s,3]")
    elif not isinstance(pieces, Sequence) or isinstance(pieces, (str, bytes)):
        raise TypeError(f"pieces are a {type(pieces).__name__}, expected an array or a list")
    return [_piece(one) for one in pieces]


def _piece(piece: object) -> UInt8[np.ndarray, "_ _ 3"]:
    array = rgb(piece) if isinstance(piece, Image.Image) else np.asarray(piece)
    if array.ndim == 2 and array.shape[-1] == 3:
        raise ValueError(
            f"a piece is {list(array.shape)}, a cloud of points, which a model of solids takes; "
            "this one is of pictures and takes square pieces [s,s,3]"
        )
    if array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise ValueError(f"a piece is {list(array.shape)}, expected [s,s,3]")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise TypeError(f"a piece is {array.dtype}, expected uint8 or floats in [-1, 1]")
    if not np.isfinite(array).all() or np.abs(array).max() > 1.001:
        raise ValueError("a piece has numbers that are not finite, or not in [-1, 1]")
    return to_uint8(array.astype(np.float32))
