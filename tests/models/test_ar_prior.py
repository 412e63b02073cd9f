"""The autoregressive prior: what its logits depend on, and that the cache changes none of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models.ar_prior import ARPrior, ARPriorConfig, init_params

CONFIG = ARPriorConfig(
    6, 10, text_length=4, dims=5, buckets=7, dot_buckets=4, width=16, depth=2, heads=2
)


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    embedding, hidden = rng.normal(size=(3, 6)), rng.normal(size=(3, 4, 10))
    mask = np.arange(4) < np.array([[4], [2], [3]])
    codes = rng.integers(7, size=(3, 5))
    text = jnp.asarray(embedding, jnp.float32), jnp.asarray(hidden, jnp.float32), jnp.asarray(mask)
    return *text, jnp.array([0, 3, 1]), jnp.asarray(codes, jnp.int32)


@pytest.fixture(scope="module")
def variables():
    params = jax.jit(lambda key: init_params(CONFIG, key))(jax.random.key(0))["network"]
    noisy = lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape)
    return {"params": jax.tree.map(noisy, params)}


@pytest.fixture(scope="module")
def forward(variables):
    return jax.jit(lambda *inputs: ARPrior(CONFIG).apply(variables, *inputs))


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "atol"), [(jnp.float32, 1e-5), (jnp.bfloat16, 0.1)])
def test_logits_with_the_cache_equal_those_of_the_whole_sequence(
    inputs, variables, forward, dtype, atol
):
    *text, dot, codes = inputs
    _, whole = forward(*inputs)
    network = ARPrior(CONFIG, dtype=dtype)
    extend = jax.jit(lambda *a: network.apply(variables, *a, method="extend"))
    logits, cache = network.apply(variables, *text, dot, method="begin")
    np.testing.assert_allclose(logits, whole[:, 0], atol=atol)
    for i in range(4):
        logits, cache = extend(codes[:, i], text[2], cache)
        np.testing.assert_allclose(logits, whole[:, i + 1], atol=atol)
    assert int(cache.length) == CONFIG.context_length == 10


def test_a_logit_depends_on_what_stands_before_it_only(inputs, forward):
    *text, dot, codes = inputs
    of_dot, of_codes = forward(*inputs)
    later_dot, later_codes = forward(*text, dot, codes.at[:, 2:].set(0))
    np.testing.assert_allclose(later_dot, of_dot, atol=1e-6)
    np.testing.assert_allclose(later_codes[:, :3], of_codes[:, :3], atol=1e-6)
    assert np.abs(later_codes[:, 3:] - of_codes[:, 3:]).max() > 0.01
    other_dot, other_codes = forward(*text, dot[::-1], codes)
    np.testing.assert_allclose(other_dot, of_dot, atol=1e-6)
    assert np.abs(other_codes[0, 0] - of_codes[0, 0]).max() > 0.01


def test_padding_and_the_length_of_the_embedding_do_not_count(inputs, forward):
    embedding, hidden, mask, dot, codes = inputs
    padded = jnp.where(mask[:, :, None], hidden, 7.0)
    for a, b in zip(
        forward(*inputs), forward(3 * embedding, padded, mask, dot, codes), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)
    shorter = forward(embedding, hidden, mask & (jnp.arange(4) < 2), dot, codes)
    assert np.abs(shorter[1][0] - forward(*inputs)[1][0]).max() > 0.01


def test_the_network_of_the_paper():
    shapes = jax.eval_shape(lambda key: init_params(ARPriorConfig(), key), jax.random.key(0))
    blocks = sum(leaf.size for leaf in jax.tree.leaves(shapes["network"]["transformer"]))
    assert blocks == 24 * (12 * 1664**2 + 13 * 1664)
    assert ARPriorConfig().context_length == 384


def test_what_cannot_be_is_named(inputs, variables):
    embedding, hidden, mask, dot, codes = inputs
    with pytest.raises(ValueError, match="a text of 3 tokens, the prior takes 4"):
        ARPrior(CONFIG).apply(variables, embedding, hidden[:, :3], mask[:, :3], dot, codes)
    for wrong, message in (
        ({"dims": 7}, "dims=7, expected 1 to 6"),
        ({"dot_buckets": 3}, "dot_buckets=3, expected an even number"),
        ({"buckets": 1}, "buckets=1, expected at least 2"),
        ({"width": 15}, "width 15 does not split into 2 heads"),
    ):
        with pytest.raises(ValueError, match=message):
            ARPriorConfig(**{"embedding_width": 6, "dims": 5, "width": 16, "heads": 2, **wrong})
