import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base, tiny_clip, tiny_face

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.stage import EditObjective, make_stage, select_images
from clipdiff_jax.perceptual.directional import change, direction_term, text_direction
from clipdiff_jax.training.config import TrainConfig
from clipdiff_jax.training.loop import fit
from clipdiff_jax.training.optim import OptimConfig

BASE, CLIP, IMAGES = tiny_base(), tiny_clip(), pictures(4)
SOURCE, TARGET = "a face", "a smiling face"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path))


def objective(**changes) -> EditObjective:
    settings = {"t0": 300, "invert_steps": 4, "train_steps": 3, **changes}
    return EditObjective(source_text=SOURCE, target_text=TARGET, **settings)


def stage_and_batch(described, **settings):
    stage = make_stage(described, BASE, CLIP, IMAGES, progress=False, **settings)
    examples = [stage.source[i] for i in range(len(stage.source))]
    return stage, {key: jnp.stack([e[key] for e in examples]) for key in examples[0]}


@pytest.mark.slow
def test_unrolled_loss_is_the_weighted_sum_on_the_final_picture():
    stage, batch = stage_and_batch(objective(l1=0.7, directional=2.0))
    value, aux = jax.jit(stage.loss)(stage.start, stage.frozen, batch, jax.random.key(0))
    generated = sample(
        BASE.denoise, ddim(BASE.config.schedule), ddim_grid(300, 3), batch["latent"], None, None
    )
    direction = text_direction(CLIP.embed_texts, SOURCE, TARGET, ("{}",))
    moved = change(CLIP.embed_images, direction, generated, jnp.asarray(IMAGES))
    expected = 2 * direction_term(moved.cosine).mean() + 0.7 * jnp.abs(generated - IMAGES).mean()
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    assert float(aux.metrics["s_dir"]) == pytest.approx(float(moved.cosine.mean()), abs=1e-5)
    assert aux.batch is None
    assert stage.rounds == 1


@pytest.mark.slow
def test_single_step_goes_on_from_the_detached_sample():
    stage, batch = stage_and_batch(objective(mode="single_step"))
    assert stage.rounds == 3
    step, times = ddim(BASE.config.schedule), jnp.asarray(ddim_grid(300, 3))
    latent, loss = batch["latent"], jax.jit(stage.loss)
    for i in range(3):
        prediction = BASE.denoise(latent, times[i], None)
        value, aux = loss(stage.start, stage.frozen, batch, jax.random.key(0))
        l1 = jnp.abs(prediction.x0 - IMAGES).mean()
        assert float(aux.metrics["l1"]) == pytest.approx(float(l1), rel=1e-5)
        assert jnp.isfinite(value)
        latent = step(latent, prediction, times[i], times[i + 1], None)
        batch = aux.batch
        np.testing.assert_allclose(batch["latent"], latent, atol=1e-5)
        np.testing.assert_array_equal(batch["index"], i + 1)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["unrolled", "single_step"])
def test_every_term_has_a_gradient(mode):
    """The reference's efficient mode gave the identity loss none. In forward mode: one pass has the
    slopes of all terms."""
    described = objective(mode=mode, length=1.0, identity=1.0, noise=1.0)
    stage, batch = stage_and_batch(described, face=tiny_face())

    def terms(params):
        return stage.loss(params, stage.frozen, batch, jax.random.key(0))[1].metrics

    direction = jax.tree.map(np.ones_like, stage.start)
    _, slopes = jax.jit(lambda p, d: jax.jvp(terms, (p,), (d,)))(stage.start, direction)
    assert set(slopes) == {"s_dir", "length", "l1", "identity", "noise"}
    for name, slope in slopes.items():
        assert 1e-6 < abs(float(slope)) < 1e6, name


@pytest.mark.slow
def test_noise_loss_of_a_model_that_learned_its_variance():
    unet = dataclasses.replace(BASE.config.unet, out_channels=6)
    base = tiny_base()
    config = dataclasses.replace(base.config, unet=unet, learned_variance=True)
    from clipdiff_jax.models.pixel import init_params

    base = dataclasses.replace(base, config=config, params=init_params(config, jax.random.key(0)))
    stage = make_stage(objective(noise=1.0), base, CLIP, IMAGES, progress=False)
    batch = {key: jnp.stack([stage.source[i][key] for i in range(2)]) for key in stage.source[0]}
    value, aux = jax.jit(stage.loss)(stage.start, stage.frozen, batch, jax.random.key(0))
    assert jnp.isfinite(value)
    assert float(aux.metrics["noise"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["unrolled", "single_step"])
def test_fit_learns_the_direction_and_trains_only_what_it_may(mode):
    described = objective(
        mode=mode, augmentations=2, grain=0.02, l1=0.1, trainable="^(up|conv_out|norm_out)"
    )
    stage = make_stage(described, BASE, CLIP, IMAGES, progress=False)
    config = TrainConfig(steps=12, batch_size=4, optim=OptimConfig(learning_rate=2e-3))
    batch = {key: jnp.stack([stage.source[i][key] for i in range(4)]) for key in stage.source[0]}
    before = jax.tree.map(np.array, stage.frozen)
    state = fit(stage, config)
    loss = jax.jit(stage.loss)
    evaluate = lambda params: loss(params, before, batch, jax.random.key(1))[1].metrics
    assert float(evaluate(state.params)["s_dir"]) > float(evaluate(stage.start)["s_dir"]) + 0.1
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(stage.frozen), strict=True):
        np.testing.assert_array_equal(a, b)
    for name, subtree in state.params.items():
        same = all(
            np.array_equal(a, b)
            for a, b in zip(
                jax.tree.leaves(subtree), jax.tree.leaves(stage.start[name]), strict=True
            )
        )
        assert same != name.startswith(("up", "conv_out", "norm_out")), name


def test_without_inversion_a_step_can_still_be_compiled():
    stage, batch = stage_and_batch(objective(), invert=False)
    assert float(np.abs(batch["latent"]).max()) == 0
    assert jax.eval_shape(stage.loss, stage.start, stage.frozen, batch, jax.random.key(0))


def test_preview_shows_pictures_and_what_becomes_of_them():
    stage, _ = stage_and_batch(objective())
    shown = stage.preview(stage.start, stage.frozen, jax.random.key(0))
    assert shown["edited"].images.shape == (4, 16, 16, 3)
    assert shown["edited"].captions == ["a smiling face"] * 4
    np.testing.assert_array_equal(shown["original"], IMAGES)


class Listed:
    fingerprint = "listed"

    def __init__(self, words):
        self.words = words

    def __len__(self):
        return len(self.words)

    def __getitem__(self, i):
        image = np.full((20, 16, 3), 10 * i, np.uint8)
        return {"image": image, "attributes": {"mouth": self.words[i], "style": "a"}}


def test_pictures_are_chosen_by_their_attributes():
    source = Listed(["sad", "smile", "serious", "sad"])
    chosen = select_images(source, 2, ("mouth=sad|serious", "style=a"), 16)
    assert chosen.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(chosen[1], 20 / 127.5 - 1, atol=1e-6)
    with pytest.raises(
        ValueError, match="4 pictures that are mouth=sad are wanted, the data has 2"
    ):
        select_images(source, 4, ("mouth=sad",), 16)
    with pytest.raises(ValueError, match="attribute=word"):
        select_images(source, 1, ("sad",), 16)


def test_impossible_objectives_are_refused():
    with pytest.raises(ValueError, match="needs a face encoder"):
        make_stage(objective(identity=0.3), BASE, CLIP, IMAGES)
    with pytest.raises(ValueError, match="t0 >= 39"):
        objective(t0=20, invert_steps=40)
    with pytest.raises(Exception, match="unrolled"):
        objective(mode="rolled")
