"""Puzzles: what is cut and turned comes back, poses say where, and random graphs are regular."""

import numpy as np
import pytest

from clipdiff_jax.data.graphs import degree_of, expander, second_eigenvalue
from clipdiff_jax.data.puzzles import (
    Puzzles,
    Size,
    as_pieces,
    cut,
    joined,
    poses,
    puzzle_transform,
    read_size,
    shuffled,
    square_of,
    textured,
    turn,
)

RNG = np.random.default_rng


def picture(rows=3, columns=4, side=5, seed=0):
    return RNG(seed).integers(0, 256, (rows * side, columns * side, 3)).astype(np.uint8)


@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (1, 2), (5, 5)])
def test_joining_undoes_cutting_shuffling_and_turning(rows, columns):
    whole, size = picture(rows, columns), Size(rows, columns)
    pieces, cells, turns = shuffled(cut(whole, size), RNG(1))
    np.testing.assert_array_equal(joined(pieces, cells, turns, size), whole)
    assert sorted(cells) == list(range(size.cells))


def test_a_pose_is_where_the_piece_lay_and_how_it_was_turned():
    size = Size(2, 3)
    found = poses(np.array([0, 2, 4]), np.array([0, 1, 2]), size)
    expected = [[-1, -1, 1, 0], [1, -1, 0, 1], [0, 1, -1, 0]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    piece = np.zeros((2, 2, 3), np.uint8)
    piece[0, 1] = 9  # top right goes to top left: counter-clockwise, as seen
    assert turn(piece, 1)[0, 0].tolist() == [9, 9, 9]
    np.testing.assert_array_equal(poses(np.array([5]), np.array([0]), size, False), [[1, 1]])


@pytest.mark.parametrize("missing", [0.1, 0.2, 0.3])
def test_missing_pieces_leave_holes_and_the_others_their_poses(missing):
    transform = puzzle_transform(Puzzles(missing=(missing,)), 4, 20)
    puzzle = transform({"image": picture(4, 4, 4)}, RNG(0))
    count = 16 - round(16 * missing)
    assert puzzle["mask"].sum() == count
    assert (puzzle["cells"][count:] == -1).all()
    assert len(set(puzzle["cells"][:count])) == count
    whole = poses(puzzle["cells"][:count], np.zeros(count, int), Size(4, 4))
    np.testing.assert_array_equal(puzzle["pose"][:count, :2], whole[:, :2])


def test_arrays_have_one_shape_whatever_the_grid():
    transform = puzzle_transform(Puzzles(grids=(2, 3, 5), share=0.6), 4, 25)
    made = [transform({"image": picture(5, 5, 8)}, RNG(seed)) for seed in range(16)]
    assert len({tuple(one["size"]) for one in made}) == 3
    for name in made[0]:
        assert len({np.shape(one[name]) for one in made}) == 1, name
    for one in made:
        count = one["mask"].sum()
        assert not one["edges"][count:].any()
        np.testing.assert_array_equal(one["edges"], one["edges"].T)


def test_texture_makes_flat_pieces_differ_and_is_the_name_s():
    flat = np.full((32, 32, 3), 128, np.uint8)
    one = textured(flat, "a")
    np.testing.assert_array_equal(one, textured(flat, "a"))
    assert (one != textured(flat, "b")).any()
    assert abs(one.astype(int) - 128).max() == 20
    pieces = cut(one, Size(4, 4)).reshape(16, -1).astype(float)
    between = np.abs(pieces[:, None] - pieces).mean(-1) + 99 * np.eye(16)
    assert between.min() > 2


@pytest.mark.parametrize(("count", "degree"), [(16, 9), (25, 14), (36, 21), (11, 2)])
def test_a_random_graph_is_regular_symmetric_and_connected(count, degree):
    edges = expander(count, degree, RNG(0))
    np.testing.assert_array_equal(edges, edges.T)
    np.testing.assert_array_equal(edges.sum(0), degree)
    assert not edges.diagonal().any()
    assert second_eigenvalue(edges) > 0
    if degree > 4:
        assert second_eigenvalue(edges) >= degree - 2 * np.sqrt(degree - 1) - 0.1
    assert (expander(count, degree, RNG(1)) != edges).any()


def test_small_graphs_are_complete_and_impossible_ones_refused():
    np.testing.assert_array_equal(expander(9, 4, RNG(0)), ~np.eye(9, dtype=bool))
    for count, degree in ((15, 3), (15, 0), (15, 15)):
        with pytest.raises(ValueError, match=f"{count} nodes"):
            expander(count, degree, RNG(0))
    for count in range(2, 40):
        for share in (0.1, 0.6, 0.8, 1.0):
            degree = degree_of(count, share)
            assert 1 <= degree < count
            assert degree * count % 2 == 0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Puzzles(grids=(1,)), "grids=1, expected"),
        (lambda: Puzzles(grids=()), "empty"),
        (lambda: Puzzles(grids=(2,), missing=(0.7,)), "leaves 1 of the 4 pieces"),
        (lambda: Puzzles(share=0.0), "share=0"),
        (lambda: puzzle_transform(Puzzles(grids=(4, 6)), 8, 16), "36 pieces, more than the 16"),
        (lambda: cut(picture(3, 4), Size(4, 4)), "not 4x4 equal squares"),
        (lambda: read_size("3y4"), "expected a number such as 4"),
        (lambda: read_size("1"), "expected at least 2"),
        (lambda: square_of(15), "15 pieces fill no square"),
        (lambda: as_pieces([picture(1, 1), picture(2, 2)]), "different sizes"),
        (lambda: as_pieces([picture(1, 2)] * 2), "expected squares"),
        (lambda: as_pieces([picture(1, 1)]), "expected at least 2"),
    ],
)
def test_what_makes_no_puzzle_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
