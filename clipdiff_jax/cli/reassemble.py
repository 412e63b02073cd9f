"""`clipdiff reassemble`: pieces of a picture, cut here or from a folder, put together."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from clipdiff_jax.cli.arguments import DEMO, add_dtype, add_out, check_between, new_folder
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.cli.saying import tell
from clipdiff_jax.cli.sources import image_files
from clipdiff_jax.core.files import json_bytes, write_whole
from clipdiff_jax.core.keys import HIGHEST_SEED
from clipdiff_jax.core.types import as_dtype
from clipdiff_jax.data.image_files import read_image
from clipdiff_jax.data.puzzles import Size, cut, joined, read_size, shuffled, square_of
from clipdiff_jax.pictures.animation import FORMATS, animation
from clipdiff_jax.pictures.saving import encoded
from clipdiff_jax.pictures.walk import walk_frames
from clipdiff_jax.reassembly.answer import Answer
from clipdiff_jax.reassembly.entrance import crop_to
from clipdiff_jax.reassembly.metrics import right_cells, right_pieces
from clipdiff_jax.reassembly.model import DEFAULT, load_reassembly

COMMAND = "reassemble"
LARGEST_PIECE = 64  # pixels, of pieces that are cut here
FRAME = 70  # milliseconds
SHUFFLED, PICTURE, POSES = "shuffled.png", "picture.png", "poses.json"
WALK, PIECES = "walk", "pieces"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A picture or pieces, the grid, and the fields of `Sampling` that poses have."""
    parser.add_argument("picture", nargs="?", type=Path, help="a picture, to be cut and shuffled")
    parser.add_argument(
        "--pieces", type=Path, metavar="FOLDER", help="square pieces, in place of a picture"
    )
    parser.add_argument(
        "--grid", type=_size, metavar="GRID",
        help="pieces along a side, or ROWSxCOLUMNS (4; of a folder the square of its pieces)",
    )  # fmt: skip
    parser.add_argument(
        "--shuffle", type=int, metavar="SEED", help="seed of the pieces' order and turns (0)"
    )
    parser.add_argument(
        "--missing", type=float, metavar="SHARE", help="leave out this share of the pieces (0)"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N",
        help="start the walk from noise of this seed (default: from its mean, without chance)",
    )  # fmt: skip
    add_options(parser, DEFAULT, ("steps", "sampler", "eta"))
    parser.add_argument(
        "--animate", choices=(*FORMATS, "none"), default=FORMATS[0],
        help=f"format of the animation of the walk ({FORMATS[0]})",
    )  # fmt: skip
    parser.add_argument(
        "--save-pieces", action="store_true", help="also write the shuffled pieces, for --pieces"
    )
    parser.add_argument(
        "--model", default=DEMO, help="'demo' (default), a folder, or a repository of the Hub"
    )
    add_dtype(parser)
    add_out(parser)


def run(args: argparse.Namespace) -> None:
    """Solves one puzzle and writes its pictures."""
    _check(args)
    sampling = from_args(DEFAULT, args)
    model = load_reassembly(args.model, dtype=as_dtype(args.dtype))
    turns = model.config.squares.turns
    pieces, size, truth = _cut(args, turns) if args.pieces is None else _read(args)
    folder = _out_folder(args)
    answer = model.solve(pieces, grid=(size.rows, size.columns), key=args.seed, sampling=sampling)
    assert isinstance(answer, Answer)  # of squares
    write_whole(folder / SHUFFLED, encoded(answer.shuffled, "PNG"))
    write_whole(folder / PICTURE, encoded(answer.picture, "PNG"))
    write_whole(folder / POSES, json_bytes(_described(answer)))
    if args.animate != "none":
        frames = animation(walk_frames(answer), args.animate, duration=FRAME, back=False)
        write_whole(folder / f"{WALK}.{args.animate}", frames)
    if args.save_pieces:
        for index, piece in enumerate(answer.pieces):
            write_whole(folder / PIECES / f"{index:03d}.png", encoded(piece, "PNG"))
    words, counts = _told(answer, truth)
    where = {"folder": str(folder), "picture": str(folder / PICTURE), "poses": str(folder / POSES)}
    tell(f"{words}; '{PICTURE}' is in '{folder}'", **where, **counts)


Truth = tuple[np.ndarray, np.ndarray]  # cells and turns


def _cut(args: argparse.Namespace, turns: bool) -> tuple[UInt8[np.ndarray, "p s s 3"], Size, Truth]:
    """The pieces of a picture in a random order, and where they lay."""
    size = Size(4, 4) if args.grid is None else args.grid
    picture = crop_to(_picture(args.picture), size, LARGEST_PIECE)
    rng = np.random.default_rng(args.shuffle or 0)
    pieces, cells, quarters = shuffled(
        cut(picture, size), rng, turns=turns, missing=args.missing or 0.0
    )
    return pieces, size, (cells, quarters)


def _read(args: argparse.Namespace) -> tuple[list[UInt8[np.ndarray, "_ _ 3"]], Size, None]:
    """The pieces in a folder, by name."""
    if not args.pieces.is_dir():
        raise FileNotFoundError(f"there is no folder '{args.pieces}'")
    files = image_files([args.pieces])
    try:
        size = square_of(len(files)) if args.grid is None else args.grid
    except ValueError as error:
        raise ValueError(f"{len(files)} pieces fill no square grid: give --grid 3x4") from error
    return [read_image(file) for file in files], size, None


def _picture(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    if path.is_dir():
        raise ValueError(f"'{path}' is a folder: pieces are given by --pieces")
    image_files([path])  # whose message names the nearest file
    return read_image(path)


def _check(args: argparse.Namespace) -> None:
    """Raises `ValueError` for options that do not go together, or are out of bounds."""
    if (args.picture is None) == (args.pieces is None):
        raise ValueError("give a picture, or --pieces with a folder of pieces")
    if args.pieces is not None:
        for name in ("shuffle", "missing"):
            if getattr(args, name) is not None:
                raise ValueError(f"--{name} is of a picture that is cut here, not of --pieces")
    if args.missing is not None and not 0 <= args.missing < 1:
        raise ValueError(f"--missing {args.missing:g}, expected a share from 0 to below 1")
    for name in ("shuffle", "seed"):
        if getattr(args, name) is not None:
            check_between(f"--{name}", getattr(args, name), 0, HIGHEST_SEED)


def _out_folder(args: argparse.Namespace) -> Path:
    """Raises `FileExistsError` where files would be replaced; nothing is written yet."""
    if args.out is None:
        return new_folder(COMMAND)
    names = [SHUFFLED, PICTURE, POSES, f"{WALK}.{args.animate}", *([PIECES] * args.save_pieces)]
    there = [name for name in names if (args.out / name).exists()]
    if there:
        raise FileExistsError(
            f"'{there[0]}' is in '{args.out}' already: nothing was written. Give another --out"
        )
    return args.out


def _told(answer: Answer, truth: Truth | None) -> tuple[str, dict[str, int]]:
    """How right the answer is, where that is known: in words, and counted."""
    pieces, (rows, columns) = len(answer.pieces), answer.size
    counts = {"pieces": pieces, "rows": rows, "columns": columns}
    if truth is None:
        return f"{pieces} pieces in {rows}x{columns} cells", counts
    right = int(right_pieces(answer.cells, answer.turns, *truth).sum())
    first = answer.one_shot
    guessed = int(right_pieces(first.cells, first.turns, *truth).sum())
    original = joined(answer.pieces, *truth, answer.size)
    alike = right_cells(answer.picture, original, answer.size)[truth[0]]
    words = (
        f"{right} of {pieces} pieces are in their place and turned right "
        f"({guessed} at the first guess), {int(alike.sum())} of {len(alike)} cells look right"
    )
    found = {"right": right, "right_at_first": guessed, "looks_right": int(alike.sum())}
    return words, counts | found


def _described(answer: Answer) -> dict[str, Any]:
    """The answer as JSON has it."""
    return {
        "rows": answer.size.rows,
        "columns": answer.size.columns,
        "cells": answer.cells.tolist(),
        "turns": answer.turns.tolist(),
        "poses": np.round(answer.poses.astype(float), 4).tolist(),
    }


def _size(text: str) -> Size:
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
