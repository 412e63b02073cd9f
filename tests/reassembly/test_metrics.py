"""Answers read off poses, and how right they are: cases made by hand."""

import jax
import numpy as np
import pytest
from helpers.tiny_reassembly import Pictures, puzzle_batch, tiny_reassembly
from scipy.optimize import linear_sum_assignment

from clipdiff_jax.data.puzzles import Puzzles, Size, centres, cut, joined, poses, puzzle_transform
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.reassembly import metrics
from clipdiff_jax.reassembly.answer import assign, read_turns
from clipdiff_jax.reassembly.metrics import mean_scores, measure, right_cells, score
from clipdiff_jax.reassembly.model import walk

SIZE = Size(2, 2)
RNG = np.random.default_rng


def least_squares(places, size):
    """The assignment of the least sum of squared distances."""
    distances = ((places[:, None] - centres(size)) ** 2).sum(-1)
    pieces, cells = linear_sum_assignment(distances)
    return cells[np.argsort(pieces)]


@pytest.mark.parametrize("count", [16, 11])
def test_clean_predictions_are_read_as_they_are(count):
    size, rng = Size(4, 4), RNG(0)
    cells = rng.permutation(16)[:count]
    places = centres(size)[cells] + rng.normal(size=(count, 2)) * 0.1
    np.testing.assert_array_equal(assign(places, size), cells)
    np.testing.assert_array_equal(least_squares(places, size), cells)


def test_every_piece_has_a_cell_of_its_own_however_poor_the_prediction():
    size = Size(4, 4)
    assert sorted(assign(RNG(0).normal(size=(16, 2)), size)) == list(range(16))
    with pytest.raises(ValueError, match="17 pieces do not fit into 16 cells"):
        assign(np.zeros((17, 2)), size)


def test_pieces_that_look_alike_do_not_move_those_that_are_sure():
    """Two flat pieces of the corners of a row are both predicted at its middle."""
    size = Size(1, 4)
    places = np.array([[-0.02, 0], [-1 / 3, 0], [1 / 3, 0], [0.02, 0]])
    assert assign(places, size).tolist()[1:3] == [1, 2]
    assert least_squares(places, size).tolist() == [1, 0, 3, 2]


def test_turns_are_snapped_to_the_nearest_quarter():
    angles = np.deg2rad([0, 44, 46, 91, 181, -90, 359])
    read = read_turns(np.stack([0 * angles, 0 * angles, np.cos(angles), np.sin(angles)], -1))
    assert read.tolist() == [0, 0, 1, 1, 2, 3, 0]
    assert read_turns(np.zeros((3, 2))).tolist() == [0, 0, 0]


def puzzle(pieces, turns=(0, 1, 2, 3)):
    cells, turns = np.arange(4), np.array(turns)
    shown = np.stack([np.rot90(p, k) for p, k in zip(pieces, turns, strict=True)])
    return {
        "pieces": shown,
        "pose": poses(cells, turns, SIZE),
        "mask": np.ones(4, bool),
        "cells": cells,
        "size": np.array(SIZE),
    }


def pieces_of(seed=0):
    return RNG(seed).integers(0, 256, (4, 4, 4, 3)).astype(np.uint8)


def as_tuple(scores):
    return scores.position, scores.direct, scores.perfect, scores.picture


def test_the_truth_scores_one():
    one = puzzle(pieces_of())
    assert as_tuple(score(one, one["pose"])) == (1, 1, 1, 1)


def test_two_swapped_pieces_and_one_turned():
    one = puzzle(pieces_of())
    swapped = one["pose"].copy()
    swapped[[0, 1], :2] = swapped[[1, 0], :2]
    assert as_tuple(score(one, swapped)) == (0.5, 0.5, 0, 0.5)
    turned = one["pose"].copy()
    turned[2, 2:] *= -1
    assert as_tuple(score(one, turned)) == (1, 0.75, 0, 0.75)


def test_identical_pieces_may_be_swapped_and_flat_ones_turned_in_the_picture():
    pieces = pieces_of()
    pieces[1] = pieces[0] = 200
    one = puzzle(pieces)
    pose = one["pose"].copy()
    pose[[0, 1], :2] = pose[[1, 0], :2]
    pose[0, 2:] *= -1
    assert as_tuple(score(one, pose)) == (0.5, 0.5, 0, 1)


def test_cells_of_missing_pieces_do_not_count():
    one = puzzle(pieces_of())
    one["mask"][3] = False
    pose = one["pose"].copy()
    pose[[0, 1], :2] = pose[[1, 0], :2]
    assert score(one, pose).picture == pytest.approx(1 / 3)


def test_cells_look_right_within_two_levels():
    truth = joined(pieces_of(), np.arange(4), np.zeros(4, int), SIZE) // 2
    picture = truth + np.uint8(1)
    picture[:4, :4] += 2
    assert right_cells(picture, truth, SIZE).tolist() == [False, True, True, True]
    np.testing.assert_array_equal(cut(truth, SIZE)[1], truth[:4, 4:])


def test_puzzles_are_measured_in_batches_of_which_the_last_is_filled_up(monkeypatch):
    monkeypatch.setattr(metrics, "BATCH", 2)
    model, few, keys = tiny_reassembly(), Sampling(steps=3), jax.random.split(jax.random.key(0), 3)
    found = measure(model, Pictures(), puzzle_transform(Puzzles(grids=(2,)), 4, 9), 3, few, keys)
    puzzles = puzzle_batch(3)
    x, trace = walk(model, puzzles, few, keys)
    for scores, answers in zip(found, (x, trace.x0[0]), strict=True):
        each = [
            score({name: one[i] for name, one in puzzles.items()}, np.asarray(answers[i]))
            for i in range(3)
        ]
        assert scores == mean_scores(each)
