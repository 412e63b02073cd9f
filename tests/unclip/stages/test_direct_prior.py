"""Stage `direct_prior`: its loss against numpy, and that it learns what captions mean."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.prior_toy import CAPTIONS, batch_of, meanings, open_toy

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.models.direct_prior import DirectPriorConfig
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.priors.direct import DirectPriorModel
from clipdiff_jax.unclip.stages.direct_prior import DirectPriorStage, contrastive_term, make_stage
from clipdiff_jax.weights.layouts.unclip_ours import read_part_folder

MODEL = DirectPriorConfig(8, 16, text_length=12, width=16, depth=1, heads=2)
CONFIG = DirectPriorStage(data=EmbeddingsData(""), model=MODEL)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return open_toy(tmp_path_factory.mktemp("toy"))


def test_contrastive_term_is_the_cross_entropy_of_the_right_text():
    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(2, 5, 7)).astype(np.float32)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    logits = 3 * unit(image) @ unit(text).T
    expected = -np.mean(np.diag(logits) - np.log(np.exp(logits).sum(axis=1)))
    found = contrastive_term(jnp.asarray(image), jnp.asarray(text), 3.0)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_loss_is_in_the_units_of_the_data(inputs):
    """A network whose last layer is zero says 0, the mean of the data: an error of 1."""
    stage = make_stage(CONFIG, inputs)
    params = jax.jit(stage.init)(jax.random.key(0))["direct_prior"]
    zero = {"direct_prior": params | {"out": jax.tree.map(jnp.zeros_like, params["out"])}}
    batch = batch_of(inputs, 96)
    value, aux = jax.jit(stage.loss)(zero, stage.frozen, batch, jax.random.key(0))
    assert float(aux.metrics["error"]) == pytest.approx(1.0, rel=1e-4)
    mean = batch["embedding"].mean(axis=0)
    text = inputs.clip.embed_texts([CAPTIONS[i % 6] for i in range(96)])
    same = jnp.broadcast_to(jnp.asarray(mean), (96, 8))
    contrast = contrastive_term(same, text, inputs.clip.temperature)
    assert float(value) == pytest.approx(1 + 0.2 * float(contrast), rel=1e-4)
    plain = jax.jit(make_stage(replace(CONFIG, contrastive=0.0), inputs).loss)
    without, _ = plain(zero, stage.frozen, batch, jax.random.key(0))
    assert float(without) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.slow
def test_it_learns_what_captions_mean(inputs, tmp_path):
    stage = make_stage(replace(CONFIG, contrastive=0.01), inputs)
    optim = OptimConfig(learning_rate=3e-3)
    state = fit(stage, TrainConfig(steps=150, batch_size=24, log_every=150, optim=optim), tmp_path)
    for name in ("mean", "std"):
        np.testing.assert_array_equal(
            state.params["direct_prior"][f"embedding_{name}"], getattr(inputs, name)
        )
    config, stored, clip = read_part_folder(tmp_path, "direct_prior")
    assert (config, clip) == (MODEL, inputs.clip_fingerprint)
    tokens = jnp.asarray(inputs.clip.tokenizer(list(CAPTIONS)))
    z = DirectPriorModel(config, stored).draw(stage.frozen.encode(tokens))
    assert np.abs(np.asarray(z) - meanings(inputs.clip)).mean() < 0.25
    again = make_stage(replace(CONFIG, start=str(tmp_path / "model")), inputs)
    jax.tree.map(np.testing.assert_array_equal, again.start, stored)
    other = replace(CONFIG, start=str(tmp_path / "model"), model=replace(MODEL, depth=2))
    with pytest.raises(ValueError, match="has the prior"):
        make_stage(other, inputs)


def test_padding_and_the_length_of_the_text_embedding_do_not_count(inputs):
    stage = make_stage(CONFIG, inputs)
    params = jax.jit(stage.init)(jax.random.key(0))
    text = stage.frozen.encode(batch_of(inputs, 3)["tokens"])
    padded = text._replace(
        embedding=2 * text.embedding, hidden=jnp.where(text.mask[:, :, None], text.hidden, 7.0)
    )
    a, b = (DirectPriorModel(MODEL, params).draw(t) for t in (text, padded))
    np.testing.assert_allclose(a, b, atol=1e-4)
    short = text._replace(hidden=text.hidden[:, :2], mask=text.mask[:, :2], ids=text.ids[:, :2])
    with pytest.raises(ValueError, match="a text of 2 tokens, the prior takes 12"):
        DirectPriorModel(MODEL, params).draw(short)
    with pytest.raises(ValueError, match="width 15 does not split into 2 heads"):
        replace(MODEL, width=15)
