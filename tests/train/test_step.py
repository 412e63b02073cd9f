"""The pure step: accumulation, moving average, freezing, rounds, and bad numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy import Points, toy_stage

from clipdiff_jax.config import ConfigError
from clipdiff_jax.train.optim import OptimConfig, learning_rate, make_optimizer, trainable_mask
from clipdiff_jax.train.stage import Aux
from clipdiff_jax.train.state import new_state
from clipdiff_jax.train.step import make_train_step


def run(stage, optimizer, steps=1, **options):
    state = new_state(stage, optimizer, 0, options.get("ema_decay", 0.0) > 0)
    points = Points()
    batch = {"x": points.x[:16], "y": points.y[:16], "drawn": jnp.arange(16.0)}
    step = jax.jit(make_train_step(stage, optimizer, **options))
    for _ in range(steps):
        state, metrics = step(state, None, batch)
    return state, metrics


def noiseless(stage):
    """The stage with its loss's key ignored, so that only the batch matters."""
    return replace(stage, loss=lambda p, f, b, k: stage.loss(p, f, b, jax.random.key(0)))


def test_accumulated_gradients_are_those_of_the_whole_batch():
    # A loss without noise: micro-batches draw noise of another shape.
    def loss(params, frozen, batch, key):
        del frozen, key
        hidden = batch["x"] @ params["dense"]["kernel"] @ params["out"]
        return jnp.mean((hidden - batch["y"]) ** 2), Aux({"drawn": batch["drawn"].mean()})

    stage = replace(toy_stage(), loss=loss)
    whole, metrics = run(stage, optax.sgd(0.1))
    parts, averaged = run(stage, optax.sgd(0.1), accumulate=4)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        whole.params,
        parts.params,
    )
    assert float(metrics["loss"]) == pytest.approx(float(averaged["loss"]), rel=1e-5)
    assert float(averaged["drawn"]) == 7.5


def test_moving_average_follows_its_formula():
    stage = noiseless(toy_stage())
    optimizer = optax.sgd(0.01)
    first, _ = run(stage, optimizer, steps=1, ema_decay=0.9)
    start = new_state(stage, optimizer, 0, True).params["out"]
    expected = 0.1 * start + 0.9 * first.params["out"]  # decay min(.9, (1 + 0) / (10 + 0))
    np.testing.assert_allclose(first.ema["out"], expected, rtol=1e-6)


def test_frozen_parameters_get_no_update_and_no_state():
    stage = toy_stage()
    params = jax.eval_shape(stage.init, jax.random.key(0))
    optimizer = make_optimizer(OptimConfig(weight_decay=0.1), 10, params, "^dense/")
    before = new_state(stage, optimizer, 0, False)
    after, _ = run(stage, optimizer, steps=3)
    np.testing.assert_array_equal(after.params["out"], before.params["out"])
    assert float(jnp.abs(after.params["dense"]["kernel"] - before.params["dense"]["kernel"]).max())
    moments = [leaf for leaf in jax.tree.leaves(before.opt) if leaf.shape == (8,)]
    assert len(moments) == 2  # mu and nu of dense/bias; none of out, which has the same shape


def test_trainable_patterns_that_match_nothing_are_errors():
    params = {"a": {"kernel": jnp.zeros(2)}}
    assert trainable_mask(params, "kernel$") == {"a": {"kernel": True}}
    with pytest.raises(ConfigError, match="matches none of 1 parameters, such as a/kernel"):
        trainable_mask(params, "bias")
    with pytest.raises(ConfigError, match="no regular expression"):
        trainable_mask(params, "(")


def test_scanned_biases_are_biases():
    """With zero gradients only decay moves parameters: kernels shrink, biases and scales do not."""
    params = {
        "blocks": {"kernel": jnp.ones((3, 4, 5)), "bias": jnp.ones((3, 5))},
        "norm": {"scale": jnp.ones(5)},
        "kernel": jnp.ones((4, 5)),
    }
    zeros = jax.tree.map(jnp.zeros_like, params)
    for name in ("adam", "muon"):
        config = OptimConfig(name=name, learning_rate=0.1, weight_decay=0.1)
        optimizer = make_optimizer(config, 1, params)
        updates, _ = optimizer.update(zeros, optimizer.init(params), params)
        assert float(jnp.abs(updates["kernel"]).min()) > 0
        assert float(jnp.abs(updates["blocks"]["kernel"]).min()) > 0
        assert float(jnp.abs(updates["norm"]["scale"]).max()) == 0
        assert float(jnp.abs(updates["blocks"]["bias"]).max()) == 0


def test_rounds_are_as_many_updates_on_one_batch():
    optimizer = optax.adam(0.01)
    stage = noiseless(toy_stage())
    three, _ = run(replace(stage, rounds=3), optimizer)
    single, _ = run(stage, optimizer, steps=3)
    np.testing.assert_allclose(three.params["out"], single.params["out"], rtol=1e-6)
    assert int(three.step) == 1


def test_a_loss_that_is_not_finite_leaves_the_state_as_it_was():
    stage = toy_stage(blow_up_at=-100.0)
    optimizer = optax.adam(0.01)
    state, metrics = run(stage, optimizer)
    assert not bool(metrics["finite"])
    before = new_state(stage, optimizer, 0, False)
    np.testing.assert_array_equal(state.params["out"], before.params["out"])


def test_learning_rates():
    passes = OptimConfig(learning_rate=2.0, schedule="passes", pass_gain=1.3, pass_updates=10)
    assert float(learning_rate(passes, 99)(9)) == pytest.approx(2.0)
    assert float(learning_rate(passes, 99)(20)) == pytest.approx(2.0 * 1.3**2)
    cosine = OptimConfig(learning_rate=2.0, schedule="cosine", warmup=10)
    assert float(learning_rate(cosine, 110)(5)) == pytest.approx(1.0)
    assert float(learning_rate(cosine, 110)(60)) == pytest.approx(1.0)
    assert float(learning_rate(cosine, 110)(110)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_both_optimisers_learn(name):
    stage = toy_stage()
    params = jax.eval_shape(stage.init, jax.random.key(0))
    config = OptimConfig(name=name, learning_rate=0.02, adam_learning_rate=0.02)
    _, first = run(stage, make_optimizer(config, 100, params), steps=1)
    _, last = run(stage, make_optimizer(config, 100, params), steps=100)
    assert float(last["loss"]) < 0.2 * float(first["loss"])
