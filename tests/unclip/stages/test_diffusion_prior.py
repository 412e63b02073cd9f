"""Stage `diffusion_prior`: its units, what it drops, and that it learns what captions mean."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.prior_toy import CAPTIONS, batch_of, meanings, open_toy
from helpers.tiny_karlo import write_karlo

from clipdiff_jax.data.embeddings import EmbeddingsData
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.unclip import Prior
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig
from clipdiff_jax.unclip.load import read_part
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.unclip.priors.diffusion import DiffusionPriorModel
from clipdiff_jax.unclip.stages.diffusion_prior import DiffusionPriorStage, make_stage
from clipdiff_jax.unclip.stages.prior_inputs import open_prior_inputs

NETWORK = DiffusionPriorConfig(8, 16, text_length=12, width=32, depth=1, heads=2)
MODEL = Prior(NETWORK, DiscreteSchedule("squared_cosine", 100))
CONFIG = DiffusionPriorStage(data=EmbeddingsData(""), model=MODEL)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return open_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def stage(inputs):
    return make_stage(CONFIG, inputs)


@pytest.fixture(scope="module")
def params(stage):
    return jax.jit(stage.init)(jax.random.key(0))


def with_prior(inputs, config, params):
    """An unCLIP of CLIP's text tower and a prior."""
    text = inputs.tower(jnp.float32)
    prior = DiffusionPriorModel(config, params)
    return UnClip(tokenizer=inputs.clip.tokenizer, text=text, prior=prior)


def test_units_are_those_of_the_data(inputs, params):
    z = np.asarray(batch_of(inputs, 96)["embedding"])
    np.testing.assert_allclose(params["prior"]["embedding_mean"], z.mean(0), atol=1e-5)
    np.testing.assert_allclose(params["prior"]["embedding_std"], z.std(0), atol=1e-5)


def test_a_network_that_says_nothing_loses_the_variance_of_the_data(inputs, stage, params):
    """At mean 0 and deviation 1 that is 1, whatever the time."""
    silent = {
        "prior": params["prior"] | {"out": jax.tree.map(jnp.zeros_like, params["prior"]["out"])}
    }
    value, _ = jax.jit(stage.loss)(silent, stage.frozen, batch_of(inputs, 96), jax.random.key(0))
    assert float(value) == pytest.approx(1.0, abs=1e-4)


def test_a_dropped_text_is_the_empty_text(inputs, stage, params):
    batch, key = batch_of(inputs, 6), jax.random.key(0)
    empty = batch | {"tokens": jnp.tile(inputs.empty, (6, 1))}

    def losses(drop_text: float) -> tuple[float, float]:
        loss = jax.jit(make_stage(replace(CONFIG, drop_text=drop_text), inputs).loss)
        return tuple(float(loss(params, stage.frozen, b, key)[0]) for b in (batch, empty))

    (shown, of_empty), (dropped, _) = losses(0.0), losses(1.0)
    assert dropped == pytest.approx(of_empty, abs=1e-6)
    assert abs(shown - dropped) > 1e-5


@pytest.mark.slow
def test_it_learns_what_captions_mean(inputs, stage, params, tmp_path):
    optim = OptimConfig(learning_rate=3e-3)
    train = TrainConfig(steps=200, batch_size=24, ema=0.95, log_every=200, optim=optim)
    state = fit(stage, train, tmp_path)
    for unit in ("embedding_mean", "embedding_std"):
        np.testing.assert_array_equal(state.params["prior"][unit], params["prior"][unit])
    model, stored = read_part(tmp_path, "prior")
    assert model == MODEL
    jax.tree.map(np.testing.assert_array_equal, stored, jax.device_get(state.ema))
    around = meanings(inputs.clip)
    unclip = with_prior(inputs, model, stored)

    def right(**options) -> float:
        z = unclip.embed_prompts(CAPTIONS * 4, key=jax.random.key(2), steps=20, **options)
        distances = np.linalg.norm(np.asarray(z)[:, None] - around[None], axis=-1)
        return float((distances.argmin(axis=1) == np.arange(24) % 6).mean())

    assert right(guidance=2.0) > 0.8
    assert right(guidance=2.0, sampler="dpm_solver") > 0.8
    # At the noisiest time Gamma is nearly that of pure noise, 1.
    stage = make_stage(replace(CONFIG, gamma_times=20, gamma_examples=48), inputs)
    stage.export(tmp_path / "analytic", stored)
    _, with_gamma = read_part(tmp_path / "analytic", "prior")
    gamma = with_gamma["gamma"]["values"]
    assert gamma.shape == (20,)
    assert float(gamma[0]) == pytest.approx(1.0, abs=0.15)
    assert np.all(np.asarray(gamma) > 0)
    with pytest.raises(ValueError, match="has Gamma stored: train or export it"):
        right(guidance=1.0, sampler="analytic")
    unclip = with_prior(inputs, model, with_gamma)
    assert right(guidance=2.0, sampler="analytic") > 0.8
    again = make_stage(replace(CONFIG, start=str(tmp_path / "analytic")), inputs)
    jax.tree.map(np.testing.assert_array_equal, again.start, stored)


@pytest.mark.slow
def test_of_two_candidates_the_one_most_like_the_text_is_kept(inputs, params):
    unclip = with_prior(inputs, MODEL, params)
    options = {"key": jax.random.key(0), "steps": 3, "guidance": 1.0}
    both = unclip.embed_prompts(["a face"], candidates=2, **options)
    keys = (
        jax.random.fold_in(jax.random.fold_in(options["key"], 0), 0),
        jax.random.fold_in(jax.random.fold_in(options["key"], 0), 1),
    )
    each = [unclip.embed_prompts(["a face"], **(options | {"key": k[None]})) for k in keys]
    text = np.asarray(unclip.encode_texts(["a face"]).embedding)[0]
    cosines = [float(z[0] @ text / np.linalg.norm(z[0])) for z in map(np.asarray, each)]
    np.testing.assert_allclose(both, each[int(np.argmax(cosines))], atol=1e-5)
    assert abs(cosines[0] - cosines[1]) > 1e-3


def test_karlos_prior_is_where_one_may_start(tmp_path):
    folder = write_karlo(tmp_path / "karlo")
    config, params = read_part(folder, "prior")
    inputs = open_toy(tmp_path)
    stage = DiffusionPriorStage(data=EmbeddingsData(""), model=config, start=str(folder))
    with pytest.raises(ValueError, match="but CLIP's is"):
        make_stage(stage, inputs)
    with pytest.raises(ValueError, match="has the prior"):
        make_stage(replace(CONFIG, start=str(folder)), inputs)
    assert params["prior"]["embedding_std"].shape == (config.network.embedding_width,)


def test_what_does_not_fit_is_named(inputs, tmp_path):
    with pytest.raises(ValueError, match=r"embeddings in .+ are of the CLIP .+, but 'demo' is"):
        open_prior_inputs(EmbeddingsData(str(inputs.source._path)), "demo")
    with pytest.raises(ValueError, match="drop_text must be a share"):
        replace(CONFIG, drop_text=2.0)
