"""The ways of learning an edit that do without the unrolled steps: noised, and in h-space."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_base, tiny_clip

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.api import edit, generate_edited
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.edit.h_space import init_h_space
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.run import edited_denoiser, learned_by
from clipdiff_jax.edit.stage import EditObjective, make_stage
from clipdiff_jax.weights.params import fingerprint

BASE, CLIP, IMAGES = tiny_base(), tiny_clip(), pictures(2)
H_SPACE = EditObjective(
    source_text="a face", target_text="a smiling face", mode="h_space", t0=300, invert_steps=2,
    train_steps=3, t_edit=100, l1=0.1,
)  # fmt: skip
LATENTS = jax.random.normal(jax.random.key(5), IMAGES.shape)


def descended(objective, start, rate, steps):
    """The stage, its loss as a function of (params, key), and params after steps of sign descent.

    The latents are noise: no inversion is compiled.
    """
    stage = make_stage(objective, BASE, CLIP, IMAGES, invert=False)
    batch = {"image": IMAGES, "latent": LATENTS, "index": np.zeros(2, np.int32)}
    slope = jax.jit(jax.value_and_grad(stage.loss, has_aux=True))
    params = stage.init(jax.random.key(0)) if start is None else start
    for _ in range(steps):
        gradient = slope(params, stage.frozen, batch, jax.random.key(1))[1]
        params = jax.tree.map(lambda p, g: p - rate * jnp.sign(g), params, gradient)
    return stage, lambda p, key: slope(p, stage.frozen, batch, jax.random.key(key)), params


@pytest.fixture(scope="module")
def h_space():
    stage, slope, params = descended(H_SPACE, None, 1e-2, 6)
    return stage, slope, Edit(BASE.config, params, H_SPACE, fingerprint(BASE.params))


@pytest.mark.slow
def test_h_space_begins_as_the_base_model_and_goes_on_by_its_own_step(h_space):
    stage, slope, _ = h_space
    assert stage.rounds == 2  # of the times 300, 150 and 0 those from t_edit = 100 on
    (_, aux), _ = slope(stage.init(jax.random.key(0)), 1)
    assert float(aux.metrics["l1"]) < 1e-6
    times = jnp.asarray(ddim_grid(300, 3))
    plain = jax.jit(lambda x: BASE.denoise(x, times[0], None))(LATENTS)
    step = ddim(BASE.config.schedule)(LATENTS, plain, times[0], times[1], None)
    np.testing.assert_allclose(aux.batch["latent"], step, atol=1e-4)
    np.testing.assert_array_equal(aux.batch["index"], 1)


def test_h_space_learns_the_direction_and_has_nothing_of_the_base_to_train(h_space):
    stage, slope, learned = h_space
    start = stage.init(jax.random.key(0))
    assert set(start) == {"conv_0", "time", "norm", "conv_1"}
    assert stage.start is None
    (before, _), gradient = slope(start, 1)
    (after, aux), _ = slope(learned.params, 1)
    assert jax.tree.structure(gradient) == jax.tree.structure(start)
    assert float(after) < float(before) - 0.1
    assert float(aux.metrics["s_dir"]) > 0.1
    for a, b in zip(
        jax.tree.leaves(stage.frozen.base.params), jax.tree.leaves(BASE.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_an_edit_in_h_space_is_applied_as_strongly_as_asked_for(h_space, tmp_path):
    learned = h_space[-1]
    learned.save(tmp_path)
    run = lambda one, *strength: generate_edited(LATENTS, BASE, one, *strength, t0=300, steps=3)
    walk = jax.jit(
        lambda x: sample(BASE.denoise, ddim(BASE.config.schedule), ddim_grid(300, 3), x, None, None)
    )
    plain = jnp.clip(walk(LATENTS), -1, 1)
    none = dataclasses.replace(learned, params=init_h_space(BASE.config, jax.random.key(0)))
    np.testing.assert_allclose(run(none), plain, atol=1e-4)
    whole = run(load_edit(tmp_path))
    assert float(jnp.abs(whole - plain).max()) > 1e-2
    some = run(learned, np.array([0.0, 1.0], np.float32))
    np.testing.assert_allclose(some[0], plain[0], atol=1e-4)
    np.testing.assert_allclose(some[1], whole[1], atol=1e-5)
    with pytest.raises(ValueError, match="edict"):
        edit(IMAGES, BASE, learned, method="edict", steps=3)


def test_an_edit_in_h_space_is_mixed_with_a_tuned_model(h_space):
    learned = h_space[-1]
    objective = dataclasses.replace(H_SPACE, mode="unrolled", t_edit=0)
    tuned = Edit(BASE.config, stirred(BASE.params, 1, 0.02), objective, "")
    several = [[learned], [tuned], [tuned, learned]]
    ratios = [None, None, [3, 1]]
    all_of_them = [
        learned_by(BASE, edits, Editing(ratios=r)) for edits, r in zip(several, ratios, strict=True)
    ]

    @jax.jit
    def predictions(all_of_them):
        models = [edited_denoiser(BASE, one, jnp.ones(2)) for one in all_of_them]
        return [model(LATENTS, jnp.int32(300), None) for model in models]

    shifted, other, both = predictions(all_of_them)
    np.testing.assert_allclose(both.x0, (3 * other.x0 + shifted.x0) / 4, atol=1e-5)
    np.testing.assert_allclose(both.eps, (3 * other.eps + shifted.eps) / 4, atol=1e-5)


@pytest.mark.slow
def test_noised_pictures_teach_the_direction_without_inversion():
    objective = dataclasses.replace(H_SPACE, mode="noised", t_edit=0)
    stage, slope, params = descended(objective, BASE.params, 1e-3, 6)
    assert (stage.rounds, objective.evaluations) == (1, 1)
    (before, aux), gradient = slope(BASE.params, 1)
    assert aux.batch is None
    assert all(float(jnp.abs(g).max()) > 0 for g in jax.tree.leaves(gradient))
    # Times are drawn anew with every key.
    assert abs(float(before - slope(BASE.params, 2)[0][0])) > 1e-4
    (after, trained), _ = slope(params, 1)
    assert float(after) < float(before)
    assert float(trained.metrics["s_dir"]) > float(aux.metrics["s_dir"]) + 0.05


def test_what_only_h_space_has_is_refused_elsewhere():
    with pytest.raises(ValueError, match="t_edit=100 is for mode 'h_space', not 'unrolled'"):
        dataclasses.replace(H_SPACE, mode="unrolled")
    with pytest.raises(ValueError, match="t_boost must lie between 0 and t0=300, got 301"):
        dataclasses.replace(H_SPACE, t_boost=301)
    with pytest.raises(ValueError, match="the base model stays as it is"):
        dataclasses.replace(H_SPACE, noise=1.0)
