"""A model of poses: what order, padding and other puzzles do not change, and what is refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_reassembly import CONFIG, Pictures, puzzle_batch, tiny_reassembly
from PIL import Image

import clipdiff_jax as cd
from clipdiff_jax.data.puzzles import Size, cut, poses
from clipdiff_jax.diffusion.prediction import from_x0
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.models.poses import Graph, visible
from clipdiff_jax.reassembly import model as module
from clipdiff_jax.reassembly.entrance import as_puzzle
from clipdiff_jax.reassembly.model import load_reassembly, save_reassembly, walk
from clipdiff_jax.weights.errors import WeightsError

FEW = cd.Sampling(steps=3)


@pytest.fixture(scope="module")
def model():
    return tiny_reassembly()


@jax.jit
def guess(model, x, t, batch):
    graph = model.graph(batch["pieces"], batch["mask"], batch["size"], batch.get("edges"))
    return model.apply(x, t, graph)


def inputs(batch, seed=0):
    x = jax.random.normal(jax.random.key(seed), batch["pose"].shape)
    return x, jnp.full(len(x), 7)


def test_the_order_of_the_pieces_carries_nothing(model):
    batch = puzzle_batch(grids=(3,))
    x, t = inputs(batch)
    order = np.random.default_rng(0).permutation(9)
    moved = {name: batch[name][:, order] for name in ("pieces", "mask")} | {"size": batch["size"]}
    found, again = guess(model, x, t, batch), guess(model, x[:, order], t, moved)
    np.testing.assert_allclose(found[:, order], again, atol=1e-5)
    assert np.abs(found - again).max() > 0.01


@pytest.mark.parametrize("virtual", [0, 3])
def test_padding_and_the_other_puzzle_of_the_batch_change_nothing(virtual):
    """Virtual nodes are each puzzle's own: what the other one holds does not come through."""
    config = replace(CONFIG, virtual_nodes=virtual)
    model = tiny_reassembly(config)
    batch = puzzle_batch(grids=(2,), share=0.6)
    x, t = inputs(batch)
    found = guess(model, x, t, batch)
    noise = np.random.default_rng(5).integers(0, 256, batch["pieces"].shape).astype(np.uint8)
    other = dict(batch)
    other["pieces"] = np.where(batch["mask"][..., None, None, None], batch["pieces"], noise)
    other["pieces"][1] = noise[1]
    again = guess(model, x.at[1].add(1).at[:, 4:].add(2), t, other)
    np.testing.assert_allclose(found[0, :4], again[0, :4], atol=1e-6)
    assert np.abs(found[1, :4] - again[1, :4]).max() > 0.01


def test_more_room_gives_the_same_answer(model):
    small = puzzle_batch(grids=(2,), max_pieces=4)
    large = puzzle_batch(grids=(2,), max_pieces=9)
    x, t = inputs(small)
    wide = jnp.pad(x, ((0, 0), (0, 5), (0, 0)), constant_values=3.0)
    np.testing.assert_allclose(
        guess(model, x, t, small), guess(model, wide, t, large)[:, :4], atol=1e-6
    )


def test_virtual_nodes_carry_what_edges_do_not():
    """Two pieces without an edge know of each other by the virtual node alone."""
    batch = puzzle_batch(1, grids=(2,))
    batch["edges"] = np.zeros((1, 9, 9), bool)
    x, t = inputs(batch)
    moved = x.at[0, 1].add(1.0)
    for nodes, reaches in ((0, False), (1, True)):
        model = tiny_reassembly(replace(CONFIG, virtual_nodes=nodes))
        change = np.abs(guess(model, x, t, batch) - guess(model, moved, t, batch))[0, 0].max()
        assert (change > 1e-4) == reaches


def test_what_sees_what():
    mask = jnp.array([[True, True, False]])
    edges = jnp.array([[[False, True, True], [True, False, True], [True, True, False]]])
    seen = visible(Graph(jnp.zeros((1, 3, 1)), mask, edges=edges), 1)[0].astype(int)
    expected = [[1, 1, 0, 1], [1, 1, 0, 1], [0, 0, 1, 0], [1, 1, 0, 1]]
    np.testing.assert_array_equal(seen, expected)


def test_puzzles_of_all_sizes_are_solved_by_one_program(model):
    whole, sizes = Pictures()[0]["image"], set()
    for rows, columns in ((2, 2), (3, 3), (2, 3), (1, 2)):
        picture = whole[: 4 * rows, : 4 * columns]
        answer = model.solve(cut(picture, Size(rows, columns)), grid=(rows, columns), steps=3)
        assert answer.picture.shape == picture.shape
        assert sorted(answer.cells) == list(range(rows * columns))
        sizes.add(module._walk._cache_size())
    assert len(sizes) == 1
    assert answer.path.shape == answer.guesses.shape == (3, 2, 4)


def test_the_walk_is_the_samplers_and_a_key_starts_it_elsewhere(model):
    batch = puzzle_batch(grids=(3,))
    x, trace = walk(model, batch, FEW)
    graph = model.graph(*map(jnp.asarray, (batch["pieces"], batch["mask"], batch["size"])))
    step, times = ddim(model.config.schedule), FEW.times(model.config.schedule)
    expected = sample(model.denoise, step, times, jnp.zeros(batch["pose"].shape), graph)
    np.testing.assert_allclose(x, expected, atol=1e-5)
    np.testing.assert_array_equal(x, trace.x[-1])
    keys = jax.random.split(jax.random.key(0))
    drawn, _ = walk(model, batch, FEW, keys)
    assert np.abs(drawn - x).max() > 1e-3
    alone, _ = walk(model, {name: one[1:] for name, one in batch.items()}, FEW, keys[1:])
    np.testing.assert_allclose(drawn[1], alone[0], atol=1e-5)


def test_a_walk_that_is_told_the_truth_ends_at_it(model):
    schedule = model.config.schedule
    truth = jnp.asarray(poses(np.arange(9), np.arange(9) % 4, Size(3, 3)))[None]
    told = lambda x, t, cond: from_x0(schedule, x, jnp.broadcast_to(t, (1,)), truth)
    times = FEW.times(schedule)
    found = sample(told, ddim(schedule), times, jax.random.normal(jax.random.key(0), truth.shape))
    np.testing.assert_allclose(found, truth, atol=1e-6)


def test_half_precision_agrees(model):
    batch = puzzle_batch(grids=(3,))
    x, t = inputs(batch)
    half = replace(model, dtype=jnp.bfloat16)
    np.testing.assert_allclose(guess(half, x, t, batch), guess(model, x, t, batch), atol=0.06)


def test_a_saved_model_is_the_same(model, tmp_path):
    save_reassembly(tmp_path / "model", model.config, model.params)
    again = load_reassembly(tmp_path)
    assert again.config == model.config
    assert again.fingerprint == model.fingerprint
    model.save(tmp_path / "half", dtype=jnp.bfloat16)
    assert load_reassembly(tmp_path / "half").fingerprint != model.fingerprint
    with pytest.raises(WeightsError, match="kind 'diffusion', not 'reassembly'"):
        load_reassembly(module.find_model("demo", "base"))


FOUR = np.zeros((4, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("pieces", "options", "said"),
    [
        (FOUR[:1], {}, "expected at least 2"),
        (FOUR[:3], {}, "3 pieces fill no square grid"),
        (np.concatenate([FOUR] * 4), {}, "16 pieces are more than the 9 that the model takes"),
        (FOUR, {"grid": (1, 2)}, "4 pieces are more than the 2 cells"),
        (FOUR, {"grid": 0}, "grid=0, expected"),
        (FOUR[..., :2, :], {}, "expected squares"),
        (FOUR[0], {}, "cut cuts them"),
        (FOUR[..., :2], {}, "expected \\[P,s,s,3\\]"),
        (np.zeros((4, 256, 3)), {}, "which a model of solids takes"),
        ([np.zeros((256, 3))] * 4, {}, "which a model of solids takes"),
        (FOUR.astype(np.float32) + np.nan, {}, "not finite"),
        ([FOUR[0], np.zeros((5, 5, 3), np.uint8)], {"grid": (1, 2)}, "different sizes"),
        ([Image.new("I;16", (4, 4))] * 4, {}, "whose range is not known"),
        (FOUR, {"guidance": 2.0}, "without guidance"),
        (FOUR, {"threshold": 99.0}, "without threshold"),
        (FOUR, {"steps": 3, "eta": 1.0}, "give a key"),
        (FOUR, {"steps": 3, "sampler": "ancestral"}, "give a key"),
        (FOUR, {"steps": 21}, "steps must be between 1 and 20"),
    ],
)
def test_what_cannot_be_solved_is_refused(model, pieces, options, said):
    with pytest.raises((ValueError, TypeError), match=said):
        model.solve(pieces, **options)


def test_transparent_pieces_are_on_white_as_all_pictures():
    clear, red = Image.new("RGBA", (4, 4)), Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    shown = as_puzzle([clear, red], (1, 2), CONFIG).shown
    assert (shown[0] == 255).all()
    assert (shown[1] == [255, 0, 0]).all()


def test_pieces_that_are_all_alike_are_answered_with_a_warning(model, caplog):
    answer = model.solve(FOUR, steps=3)
    assert sorted(answer.cells) == [0, 1, 2, 3]
    assert "any arrangement is as good" in caplog.text
