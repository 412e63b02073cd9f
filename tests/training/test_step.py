"""The pure step: accumulation, moving average, freezing, rounds, and bad numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.toy import Points, toy_stage

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.training.optim import OptimConfig, learning_rate, make_optimizer, trainable_mask
from clipdiff_jax.training.stage import Aux
from clipdiff_jax.training.state import new_state
from clipdiff_jax.training.step import make_train_step


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
        update = jax.jit(lambda g, p, o=optimizer: o.update(g, o.init(p), p)[0])
        updates = update(zeros, params)
        assert float(jnp.abs(updates["kernel"]).min()) > 0
        assert float(jnp.abs(updates["blocks"]["kernel"]).min()) > 0
        assert float(jnp.abs(updates["norm"]["scale"]).max()) == 0
        assert float(jnp.abs(updates["blocks"]["bias"]).max()) == 0


def quadratic(trainable=""):
    """0.5 a^T diag(1, 4, 9) a + 2 b^2, with gradients (1, 4, 9) a and 4 b."""
    scale = jnp.array([1.0, 4.0, 9.0])

    def loss(params, frozen, batch, key):
        del frozen, batch, key
        value = 0.5 * jnp.sum(scale * params["a"] ** 2) + 2 * params["b"] ** 2
        return value, Aux({"a_0": params["a"][0]})

    init = lambda key: {"a": jnp.array([1.0, -0.5, 0.2]), "b": jnp.array(0.3)}
    return replace(toy_stage(), init=init, loss=loss, trainable=trainable)


def test_the_norm_is_that_of_the_gradients_of_what_is_trained():
    of_a = np.linalg.norm([1.0, 4.0 * -0.5, 9.0 * 0.2])
    _, metrics = run(quadratic("^a"), optax.sgd(0.1))
    assert float(metrics["grad_norm"]) == pytest.approx(of_a)
    _, metrics = run(quadratic(), optax.sgd(0.1))
    assert float(metrics["grad_norm"]) == pytest.approx(np.hypot(of_a, 4 * 0.3))


def test_sharpness_aware_gradients_of_a_quadratic():
    rate, rho = 0.1, 0.25
    a, b, scale = np.array([1.0, -0.5, 0.2]), 0.3, np.array([1.0, 4.0, 9.0])
    length = np.sqrt(np.sum((scale * a) ** 2) + (4 * b) ** 2)
    expected = a - rate * scale * (a + rho * scale * a / length)
    state, metrics = run(quadratic(), optax.sgd(rate), sam_rho=rho)
    np.testing.assert_allclose(state.params["a"], expected, rtol=1e-5)
    assert float(state.params["b"]) == pytest.approx(b - rate * 4 * (b + rho * 4 * b / length))
    # The loss and what comes with it are those of the parameters, not of the point above them.
    assert float(metrics["loss"]) == pytest.approx(0.5 * np.sum(scale * a**2) + 2 * b**2)
    assert float(metrics["a_0"]) == 1.0
    in_parts, _ = run(quadratic(), optax.sgd(rate), sam_rho=rho, accumulate=4)
    np.testing.assert_allclose(in_parts.params["a"], state.params["a"], rtol=1e-5)


def test_sharpness_aware_steps_leave_frozen_parameters_where_they_are():
    rate, rho = 0.1, 0.25
    a, scale = np.array([1.0, -0.5, 0.2]), np.array([1.0, 4.0, 9.0])
    length = np.sqrt(np.sum((scale * a) ** 2))  # of the trained parameters alone
    state, _ = run(quadratic("^a"), optax.sgd(rate), sam_rho=rho)
    expected = a - rate * scale * (a + rho * scale * a / length)
    np.testing.assert_allclose(state.params["a"], expected, rtol=1e-5)


def test_without_a_radius_a_step_is_the_plain_one_bit_for_bit():
    stage, optimizer = toy_stage(), optax.adam(0.01)
    state, _ = run(stage, optimizer, sam_rho=0.0)

    @jax.jit
    def plain(state, batch):
        key = jax.random.fold_in(state.key, state.step)
        grads, _ = jax.grad(stage.loss, has_aux=True)(state.params, None, batch, key)
        updates, _ = optimizer.update(grads, state.opt, state.params)
        return optax.apply_updates(state.params, updates)

    points = Points()
    batch = {"x": points.x[:16], "y": points.y[:16], "drawn": jnp.arange(16.0)}
    expected = plain(new_state(stage, optimizer, 0, False), batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)
    some, _ = run(stage, optimizer, sam_rho=0.1)
    assert float(jnp.abs(some.opt[0].mu["out"] - state.opt[0].mu["out"]).max()) > 1e-6
    with pytest.raises(ConfigError, match=r"sam_rho=-0\.1"):
        OptimConfig(sam_rho=-0.1)


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


def test_a_constant_rate_falls_to_zero_over_its_last_updates():
    config = OptimConfig(learning_rate=2.0, warmup=10, cooldown=50)
    rate = learning_rate(config, 110)
    assert [float(rate(n)) for n in (5, 10, 60, 85, 110)] == pytest.approx([1, 2, 2, 1, 0])
    assert float(learning_rate(config, 210)(110)) == 2.0  # a longer run goes on at the same rate
    assert [float(learning_rate(config, 30)(n)) for n in (10, 20, 30)] == pytest.approx([2, 1, 0])
    with pytest.raises(ConfigError, match=r"cooldown=50 with optim\.schedule='cosine'"):
        OptimConfig(schedule="cosine", cooldown=50)


@pytest.mark.parametrize("name", ["adam", "muon"])
def test_both_optimisers_learn(name):
    stage = toy_stage()
    params = jax.eval_shape(stage.init, jax.random.key(0))
    config = OptimConfig(name=name, learning_rate=0.02, adam_learning_rate=0.02)
    _, first = run(stage, make_optimizer(config, 100, params), steps=1)
    _, last = run(stage, make_optimizer(config, 100, params), steps=100)
    assert float(last["loss"]) < 0.2 * float(first["loss"])
