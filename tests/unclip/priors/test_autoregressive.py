"""Sampling of the autoregressive prior: against a loop without a cache, and its distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models import ar_prior, pca
from clipdiff_jax.models.ar_prior import ARPrior, ARPriorConfig
from clipdiff_jax.models.unclip import TextFeatures
from clipdiff_jax.unclip.priors import autoregressive
from clipdiff_jax.unclip.priors.autoregressive import ARPriorModel

CONFIG = ARPriorConfig(
    6, 10, text_length=4, dims=5, buckets=7, dot_buckets=4, width=16, depth=2, heads=2
)
RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(400, 6)) * 0.5 ** np.arange(6) + 1, jnp.float32)
TEXTS = jnp.asarray(RNG.normal(size=(400, 6)) + 1, jnp.float32)


@pytest.fixture(scope="module")
def params():
    network = jax.jit(lambda key: ar_prior.init_params(CONFIG, key))(jax.random.key(0))
    noisy = lambda p: p + 0.3 * jax.random.normal(jax.random.key(1), p.shape)
    dots = np.asarray(autoregressive.dot_products(IMAGES, TEXTS))
    fitted = autoregressive.fitted_params(CONFIG, pca.fit([np.asarray(IMAGES)]), dots, 3.0)
    return jax.tree.map(noisy, network) | fitted


def features(count, seed=0):
    rng = np.random.default_rng(seed)
    embedding = jnp.asarray(rng.normal(size=(count, 6)), jnp.float32)
    hidden = jnp.asarray(rng.normal(size=(count, 4, 10)), jnp.float32)
    mask = jnp.arange(4) < jnp.asarray(rng.integers(1, 5, size=(count, 1)))
    return TextFeatures(embedding, hidden, mask, jnp.zeros((count, 4), jnp.int32))


def keys(count):
    return jax.random.split(jax.random.key(5), count)


@pytest.mark.slow
def test_sampling_equals_a_loop_over_whole_sequences(params):
    text, empty, guidance, temperature = (
        features(3),
        features(3, 1),
        jnp.array([1.0, 2.0, 0.5]),
        0.8,
    )
    found = ARPriorModel(CONFIG, params).draw_codes(
        text, empty, guidance, jnp.float32(temperature), keys(3)
    )
    forward = jax.jit(lambda *a: ARPrior(CONFIG).apply({"params": params["network"]}, *a)[1])
    dot, codes = autoregressive.upper_half(CONFIG, keys(3)), jnp.zeros((3, 5), jnp.int32)
    for i in range(5):
        of_text, of_empty = (forward(*f[:3], dot, codes)[:, i] for f in (text, empty))
        logits = of_empty + guidance[:, None] * (of_text - of_empty)
        for j in range(3):
            noise = jax.random.gumbel(jax.random.fold_in(keys(3)[j], i), (7,))
            codes = codes.at[j, i].set(jnp.argmax(logits[j] + temperature * noise))
    np.testing.assert_array_equal(found, codes)
    z = ARPriorModel(CONFIG, params).draw(text, empty, guidance, jnp.float32(temperature), keys(3))
    np.testing.assert_allclose(z, ARPriorModel(CONFIG, params).from_codes(codes), atol=1e-5)


@pytest.mark.slow
def test_a_picture_depends_on_its_own_key_and_no_scalar_recompiles(params):
    run = lambda n, guidance, temperature: ARPriorModel(CONFIG, params).draw(
        *(jax.tree.map(lambda a: a[:n], features(4, s)) for s in (0, 1)),
        jnp.float32(guidance), jnp.float32(temperature), keys(4)[:n],
    )  # fmt: skip
    np.testing.assert_allclose(run(2, 3.0, 1.0), run(4, 3.0, 1.0)[:2], atol=1e-5)
    compiled = autoregressive._draw._cache_size()
    assert np.abs(run(4, 0.0, 2.0) - run(4, 3.0, 1.0)).max() > 0.01
    assert autoregressive._draw._cache_size() == compiled


def test_codes_follow_their_probabilities_at_a_temperature(params):
    """With logits that are the output's bias alone: p^(1/T), and the likeliest at T = 0."""
    p = np.array([0.3, 0.05, 0.2, 0.05, 0.25, 0.05, 0.1])
    head = {"kernel": jnp.zeros((16, 7)), "bias": jnp.log(jnp.asarray(p, jnp.float32))}
    fixed = params | {"network": params["network"] | {"code_out": head}}
    text, count = features(1), 600
    many = jax.tree.map(lambda a: jnp.repeat(a, count, axis=0), text)
    draw = jax.jit(
        lambda guidance, temperature: ARPriorModel(CONFIG, fixed).draw_codes(
            many, many, guidance, temperature, keys(count)
        )
    )
    for temperature in (1.0, 0.5):
        codes = np.asarray(draw(2.0, temperature))
        expected = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
        found = np.bincount(codes.ravel(), minlength=7) / codes.size
        np.testing.assert_allclose(found, expected, atol=4 * np.sqrt(0.25 / codes.size))
    np.testing.assert_array_equal(draw(2.0, 0.0), 0)


def test_the_dot_product_is_from_the_upper_half(params):
    dots = np.asarray(autoregressive.dot_products(IMAGES, TEXTS))
    tokens, _ = ARPriorModel(CONFIG, params).to_codes(IMAGES, TEXTS)
    np.testing.assert_array_equal(np.bincount(tokens), [100] * 4)
    np.testing.assert_array_equal(np.asarray(tokens) >= 2, dots > np.median(dots))
    drawn = np.bincount(autoregressive.upper_half(CONFIG, keys(1000)), minlength=4)
    assert (drawn[:2] == 0).all()
    assert abs(drawn[2] - 500) < 65


def test_embeddings_come_back_within_their_buckets(params):
    _, codes = ARPriorModel(CONFIG, params).to_codes(IMAGES, TEXTS)
    back = ARPriorModel(CONFIG, params).from_codes(codes)
    q, components = params["quantiser"], pca.PCA(**params["pca"])
    c = pca.project(components, IMAGES)
    inside = (np.abs(c[:, :5]) <= q["high"]).all(axis=1)
    assert inside.mean() > 0.9
    bound = np.sum(((q["high"] - q["low"]) / 14) ** 2) + c[:, 5] ** 2
    assert (np.square(back - IMAGES).sum(axis=1) <= 1.01 * bound)[inside].all()
