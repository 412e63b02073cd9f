"""Stage `puzzles`: padding is not in its loss, it learns, and what it exports solves puzzles."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn
from helpers.tiny_reassembly import CONFIG, Pictures, puzzle_batch

from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.data.puzzles import Puzzles
from clipdiff_jax.reassembly.model import load_reassembly
from clipdiff_jax.reassembly.stage import PuzzleStage, make_stage, masked_mean
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig

STAGE = PuzzleStage(
    data=AvatarsData(size=12), puzzles=Puzzles(grids=(2, 3)), model=CONFIG, preview_count=3,
    preview_steps=3,
)  # fmt: skip


def test_padding_is_not_in_the_loss():
    stage = make_stage(STAGE, Pictures())
    params = drawn(stage.init, 0)
    batch = puzzle_batch(4, grids=(2,))
    other = dict(batch)
    other["pose"] = batch["pose"] + 9 * ~batch["mask"][..., None]
    other["pieces"] = batch["pieces"] + np.uint8(7) * ~batch["mask"][..., None, None, None]
    loss = jax.jit(stage.loss)
    for key in map(jax.random.key, range(2)):
        one, two = (loss(params, None, b, key)[0] for b in (batch, other))
        np.testing.assert_allclose(one, two, rtol=1e-6)


def test_the_mean_is_over_the_pieces_that_are_there():
    values = jnp.array([[[1.0, 3.0], [100.0, 100.0]], [[5.0, 7.0], [9.0, 11.0]]])
    mask = jnp.array([[True, False], [True, True]])
    assert float(masked_mean(values, mask)) == pytest.approx((1 + 3 + 5 + 7 + 9 + 11) / 6)


@pytest.mark.slow
def test_it_learns_and_its_export_knows_the_grids(tmp_path):
    train = TrainConfig(
        steps=150, batch_size=8, log_every=50, ema=0.9, preview_every=150,
        optim=OptimConfig(learning_rate=5e-3),
    )  # fmt: skip
    stage = make_stage(STAGE, Pictures())
    state = fit(stage, train, tmp_path)
    batch, loss = puzzle_batch(8, grids=(2, 3)), jax.jit(stage.loss)
    before, after = (
        float(loss(params, None, batch, jax.random.key(1))[0])
        for params in (jax.jit(stage.init)(jax.random.key(0)), state.params)
    )
    assert after < 0.6 * before
    model = load_reassembly(tmp_path)
    assert model.config == replace(CONFIG, grids=(2, 3))
    again = make_stage(replace(STAGE, start=str(tmp_path)), Pictures())
    assert again.start is not None


def test_configs_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"puzzles\.turns is False"):
        replace(STAGE, puzzles=Puzzles(turns=False))
    with pytest.raises(ValueError, match="more than the 9"):
        make_stage(replace(STAGE, puzzles=Puzzles(grids=(4,))), Pictures())
    stage = make_stage(STAGE, Pictures())
    stage.export(tmp_path / "model", drawn(stage.init, 0))
    wider = replace(STAGE, model=replace(CONFIG, width=32), start=str(tmp_path))
    with pytest.raises(ValueError, match="has the network"):
        make_stage(wider, Pictures())
    roomier = replace(STAGE, model=replace(CONFIG, max_pieces=16), start=str(tmp_path))
    assert make_stage(roomier, Pictures()).start is not None
