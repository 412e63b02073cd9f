"""Stage `ar_prior`: its loss, what it is fitted to, and that it learns what captions mean."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.prior_toy import CAPTIONS, batch_of, meanings, open_toy

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models import pca
from clipdiff_jax.models.ar_prior import ARPriorConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.priors.autoregressive import ARPriorModel, dot_products
from clipdiff_jax.unclip.stages.ar_prior import ARPriorStage, make_stage
from clipdiff_jax.weights.layouts.unclip_ours import read_part_folder

MODEL = ARPriorConfig(
    8, 16, text_length=12, dims=4, buckets=16, dot_buckets=4, width=32, depth=1, heads=2
)
CONFIG = ARPriorStage(data=EmbeddingsData(""), model=MODEL, deviations=2.5)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return open_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def stage(inputs):
    return make_stage(CONFIG, inputs)


@pytest.fixture(scope="module")
def params(stage):
    return jax.jit(stage.init)(jax.random.key(0))


def test_components_and_buckets_are_those_of_the_data(inputs, params, caplog):
    caplog.set_level("INFO", "clipdiff_jax")
    z = batch_of(inputs, 96)["embedding"]
    expected = pca.fit([z])
    for name, array in expected._asdict().items():
        np.testing.assert_allclose(params["pca"][name], array, atol=1e-5)
    high = 2.5 * np.sqrt(expected.variances[:4])
    np.testing.assert_allclose(params["quantiser"]["high"], high, rtol=1e-5)
    text = inputs.clip.embed_texts([CAPTIONS[i % 6] for i in range(96)])
    dots = dot_products(z, text)
    np.testing.assert_allclose(
        params["quantiser"]["dot_edges"], np.quantile(dots, [0.25, 0.5, 0.75]), atol=1e-5
    )
    make_stage(replace(CONFIG, fit_examples=7), inputs)
    assert "4 of 8 dimensions keep " in caplog.text


def test_without_the_fit_all_has_the_same_shapes(inputs, stage):
    blank = make_stage(CONFIG, inputs, fit=False)
    a, b = (jax.eval_shape(s.init, jax.random.key(0)) for s in (stage, blank))
    assert a == b
    assert not jax.tree.leaves(jax.jit(blank.init)(jax.random.key(0))["pca"]["directions"])[0].any()


def test_loss_is_the_mean_over_dot_product_and_codes(inputs, stage, params):
    """With flat logits every code costs log(buckets)."""
    flat = jax.tree.map(jnp.zeros_like, {n: params["network"][n] for n in ("dot_out", "code_out")})
    batch = batch_of(inputs, 6)
    even = params | {"network": params["network"] | flat}
    value, aux = jax.jit(stage.loss)(even, stage.frozen, batch, jax.random.key(0))
    assert float(value) == pytest.approx((np.log(4) + 4 * np.log(16)) / 5, rel=1e-6)
    assert float(aux.metrics["dot"]) == pytest.approx(np.log(4), rel=1e-6)


def test_dropped_texts_are_the_empty_text_but_keep_their_dot_product(inputs, stage, params):
    batch, key = batch_of(inputs, 6), jax.random.key(0)
    empty = batch | {"tokens": jnp.tile(inputs.empty, (6, 1))}

    def losses(drop_text: float) -> tuple[float, float]:
        loss = jax.jit(make_stage(replace(CONFIG, drop_text=drop_text), inputs).loss)
        return tuple(float(loss(params, stage.frozen, b, key)[0]) for b in (batch, empty))

    (shown, of_empty), (dropped, of_empty_dropped) = losses(0.0), losses(1.0)
    assert abs(shown - dropped) > 1e-4
    # All texts being empty, their dot products are other ones.
    assert abs(of_empty - dropped) > 1e-4
    assert of_empty == pytest.approx(of_empty_dropped, abs=1e-6)


@pytest.mark.slow
def test_it_learns_what_captions_mean(inputs, stage, params, tmp_path):
    optim = OptimConfig(learning_rate=3e-3)
    train = TrainConfig(steps=150, batch_size=24, ema=0.9, log_every=150, optim=optim)
    state = fit(stage, train, tmp_path)
    batch = batch_of(inputs, 48)
    loss = jax.jit(stage.loss)
    before, after = (
        float(loss(p, stage.frozen, batch, jax.random.key(1))[0]) for p in (params, state.params)
    )
    assert before > 2.5
    assert after < 0.6 * before
    for name in ("pca", "quantiser"):
        jax.tree.map(np.testing.assert_array_equal, state.params[name], params[name])
    config, stored, clip = read_part_folder(tmp_path, "ar_prior")
    assert (config, clip) == (MODEL, inputs.clip_fingerprint)
    jax.tree.map(np.testing.assert_array_equal, stored, jax.device_get(state.ema))
    tokens = jnp.asarray(inputs.clip.tokenizer(list(CAPTIONS) * 4))
    text, empty = (stage.frozen.encode(t) for t in (tokens, jnp.tile(inputs.empty, (24, 1))))
    keys = jax.random.split(jax.random.key(2), 24)
    z = ARPriorModel(config, stored).draw(text, empty, jnp.float32(1), jnp.float32(1), keys)
    distances = np.linalg.norm(np.asarray(z)[:, None] - meanings(inputs.clip)[None], axis=-1)
    assert (distances.argmin(axis=1) == np.arange(24) % 6).mean() > 0.9
    # To start from it keeps its buckets, whatever the data.
    again = make_stage(replace(CONFIG, start=str(tmp_path / "model"), deviations=9.0), inputs)
    jax.tree.map(np.testing.assert_array_equal, again.start, stored)
    other = replace(CONFIG, start=str(tmp_path / "model"), model=replace(MODEL, dims=3))
    with pytest.raises(ValueError, match="has the prior"):
        make_stage(other, inputs)


def test_in_half_precision_what_was_fitted_stays_exact(inputs, params, tmp_path):
    half = make_stage(replace(CONFIG, export_dtype="bfloat16"), inputs, fit=False)
    half.export(tmp_path / "half", jax.device_get(params))
    stored = read_part_folder(tmp_path / "half", "ar_prior")[1]
    for name in ("pca", "quantiser"):
        jax.tree.map(np.testing.assert_array_equal, stored[name], params[name])
    difference = lambda a, b: float(jnp.abs(a - b).max())
    errors = jax.tree.leaves(jax.tree.map(difference, stored["network"], params["network"]))
    assert 0 < max(errors) < 0.02


def test_what_does_not_fit_is_named(inputs):
    with pytest.raises(ValueError, match=r"ARPriorConfig\.hidden_width is 9, but CLIP's is 16"):
        make_stage(replace(CONFIG, model=replace(MODEL, hidden_width=9)), inputs)
    with pytest.raises(ValueError, match="drop_text must be a share"):
        replace(CONFIG, drop_text=2.0)
    with pytest.raises(ValueError, match="fit_examples=1, expected at least 2"):
        replace(CONFIG, fit_examples=1)
