"""A tiny model of poses on random parameters, and puzzles for it."""

import jax
import numpy as np

from clipdiff_jax.data.puzzles import Puzzles, puzzle_transform
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.pieces import SquaresConfig
from clipdiff_jax.models.poses import PosesConfig, init_params
from clipdiff_jax.reassembly.model import Reassembly
from helpers.tiny_models import drawn

SQUARES = SquaresConfig(piece=4, hidden=8, features=8)
CONFIG = PosesConfig(
    SQUARES, width=16, depth=2, heads=2, mlp_width=16, max_pieces=9,
    schedule=DiscreteSchedule(num_steps=20),
)  # fmt: skip


class Pictures:
    """Random pictures of 12 px."""

    fingerprint = "pictures"

    def __len__(self):
        return 24

    def __getitem__(self, index):
        pixels = np.random.default_rng(index).integers(0, 255, (12, 12, 3)).astype(np.uint8)
        return {"image": pixels, "name": str(index)}


def tiny_reassembly(config=CONFIG):
    return Reassembly(config, drawn(lambda key: init_params(config, key), 0))


def puzzle_batch(count=2, max_pieces=9, **options):
    """The first pictures as puzzles, stacked."""
    transform = puzzle_transform(Puzzles(**{"grids": (2,), **options}), 4, max_pieces)
    rows = [transform(Pictures()[i], np.random.default_rng(i)) for i in range(count)]
    return jax.tree.map(lambda *one: np.stack(one), *rows)
