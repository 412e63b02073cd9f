"""`clipdiff evaluate reassembly`: how many pieces of held-out faces a model puts right."""

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from clipdiff_jax.cli.arguments import check_at_least
from clipdiff_jax.cli.evaluate.results import SHOWN, table, write_results
from clipdiff_jax.cli.options import add_options, from_args
from clipdiff_jax.data.avatars.source import Avatars, AvatarsData, open_avatars
from clipdiff_jax.data.puzzles import Puzzles, Size, cut, puzzle_transform, shuffled
from clipdiff_jax.pictures.grid import Grid, show
from clipdiff_jax.reassembly.answer import Answer
from clipdiff_jax.reassembly.metrics import measure
from clipdiff_jax.reassembly.model import DEFAULT, Reassembly, load_reassembly

_TITLES = {
    "position": "position ↑", "direct": "direct ↑", "perfect": "perfect ↑", "picture": "picture ↑"
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The model, and the puzzles."""
    parser.add_argument("--model", default="demo", help="the model: 'demo' (default) or a folder")
    parser.add_argument("--count", type=int, default=600, metavar="N", help="held-out faces (600)")
    parser.add_argument("--grid", type=int, default=4, metavar="N", help="pieces along a side (4)")
    parser.add_argument(
        "--missing", nargs="+", type=float, default=[0.0], metavar="SHARE",
        help="shares of the pieces that are left out, a row for each (0)",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=float, metavar="SHARE",
        help="of the other pieces that each sees, in a random regular graph (all)",
    )  # fmt: skip
    parser.add_argument(
        "--texture", action="store_true", help="a smooth field on the faces: no two pieces alike"
    )
    add_options(parser, DEFAULT, ("steps", "sampler"))
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder for the results"
    )


def run(args: argparse.Namespace) -> None:
    """Two rows for each share: of the walk, and of the network's first guess."""
    check_at_least("--count", args.count, 1)
    sampling = from_args(DEFAULT, args)
    settings = [
        Puzzles(
            grids=(args.grid,),
            missing=(missing,),
            background="texture" if args.texture else "plain",
            share=args.share,
        )
        for missing in args.missing
    ]
    model = load_reassembly(args.model)
    encoder = model.config.squares
    settings = [dataclasses.replace(one, turns=encoder.turns) for one in settings]
    side = args.grid * encoder.piece
    source = open_avatars(
        AvatarsData(size=side, split="test", count=args.count, styles=("avataaars",))
    )
    results, rows = [], []
    for one in settings:
        transform = puzzle_transform(one, encoder.piece, model.config.max_pieces)
        walked, guessed = measure(model, source, transform, args.count, sampling)
        for name, scores in (("walk", walked), ("first guess", guessed)):
            told = dataclasses.asdict(scores)
            results.append(
                {
                    "model": str(args.model), "faces": args.count, "grid": args.grid,
                    "missing": one.missing[0], "share": one.share, "background": one.background,
                    "answer": name, **sampling.to_dict(), "scores": told,
                }
            )  # fmt: skip
            rows.append([f"{one.missing[0]:g}", name, *(f"{told[key]:.3f}" for key in _TITLES)])
    lines = table(["missing", "answer", *_TITLES.values()], rows)
    write_results(args.out, results, lines, _shown(model, source, args.grid))


def _shown(model: Reassembly, source: Avatars, grid: int) -> Grid:
    """Some faces, shuffled and put together."""
    size, turns = Size(grid, grid), model.config.squares.turns
    rows: list[list[np.ndarray]] = [[], [], []]
    for index in range(min(SHOWN, len(source))):
        face = source[index]["image"]
        pieces, _, _ = shuffled(cut(face, size), np.random.default_rng(index), turns=turns)
        answer = model.solve(pieces)
        assert isinstance(answer, Answer)  # of squares
        rows[0].append(face)
        rows[1].append(answer.shuffled)
        rows[2].append(answer.picture)
    return show([np.stack(row) for row in rows], rows=["face", "shuffled", "answer"])
