"""Scanned blocks: equal to a loop over them, causal, indifferent to rematerialisation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models.transformer import ACTIVATIONS, Block, Transformer

BLOCK = partial(Block, heads=2, mlp_width=12, depth=3)
NETWORK = partial(Transformer, depth=3, heads=2, mlp_width=12)


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (2, 5, 8))


@pytest.fixture(scope="module")
def params(x):
    params = jax.jit(NETWORK().init)(jax.random.key(1), x)["params"]
    return jax.tree.map(lambda p: p + 0.1 * jax.random.normal(jax.random.key(2), p.shape), params)


def test_scan_equals_a_loop_over_blocks(x, params):
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(params["blocks"]))
    scanned = jax.jit(NETWORK(causal=True).apply)({"params": params}, x)
    block_of = jax.jit(BLOCK(causal=True).apply)
    looped = x
    for i in range(3):
        block = jax.tree.map(lambda p, i=i: p[i], params["blocks"])
        looped, _ = block_of({"params": block}, looped)
    np.testing.assert_allclose(scanned, looped, atol=1e-5)


def test_causal_blocks_do_not_see_what_follows(x, params):
    later = x.at[:, 3:].multiply(-1.0)
    for causal, blind in ((True, True), (False, False)):
        apply = jax.jit(NETWORK(causal=causal).apply)
        a, b = (apply({"params": params}, v) for v in (x, later))
        assert np.allclose(a[:, :3], b[:, :3], atol=1e-6) == blind


def test_masked_positions_do_not_count(x, params):
    mask = jnp.arange(5)[None, None, None, :] < 4
    changed = x.at[:, 4].multiply(-1.0)
    apply = jax.jit(NETWORK().apply)
    a, b = (apply({"params": params}, v, mask) for v in (x, changed))
    np.testing.assert_allclose(a[:, :4], b[:, :4], atol=1e-6)


def test_rematerialisation_changes_no_gradient(x, params):
    def gradient(remat):
        network = NETWORK(remat=remat)
        return jax.jit(jax.grad(lambda p: jnp.sum(network.apply({"params": p}, x) ** 2)))(params)

    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *map(gradient, (False, True))
    )


def test_half_precision_output_and_float32_parameters(x, params):
    half = jax.jit(NETWORK(dtype=jnp.bfloat16).apply)({"params": params}, x)
    full = jax.jit(NETWORK().apply)({"params": params}, x)
    assert half.dtype == jnp.bfloat16
    assert full.dtype == jnp.float32
    assert np.abs(half - full).max() < 0.1


def test_activations():
    x = jnp.array([-1.0, 0.0, 2.0])
    np.testing.assert_allclose(ACTIVATIONS["quick_gelu"](x), [-0.15420, 0, 1.93565], atol=1e-4)
    np.testing.assert_allclose(ACTIVATIONS["gelu"](x), [-0.15866, 0, 1.95450], atol=1e-4)
    np.testing.assert_allclose(ACTIVATIONS["gelu_tanh"](x), [-0.15881, 0, 1.95460], atol=1e-4)


def test_heads_must_divide_the_width(x):
    with pytest.raises(ValueError, match="width of 8 does not split into 3 heads"):
        jax.eval_shape(NETWORK(heads=3).init, jax.random.key(0), x)


def test_extending_with_a_cache_equals_the_whole_sequence(x, params):
    network = NETWORK(causal=True)
    mask = jnp.array([[True] * 5, [True, False, True, True, True]])[:, None, None, :]
    whole = jax.jit(network.apply)({"params": params}, x, mask)
    extend = jax.jit(partial(network.apply, method="extend"))
    wider = jnp.pad(mask, ((0, 0), (0, 0), (0, 0), (0, 2)))
    cache = network.empty_cache(2, 7, 8)
    parts = []
    for start, stop in ((0, 2), (2, 3), (3, 5)):
        part, cache = extend({"params": params}, x[:, start:stop], cache, wider)
        parts.append(part)
        assert int(cache.length) == stop
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)
    assert cache.past.keys.shape == (3, 2, 7, 2, 4)
    assert not cache.past.keys[:, :, 5:].any()
    with pytest.raises(ValueError, match="only a causal transformer"):
        NETWORK().apply({"params": params}, x, cache, method="extend")
