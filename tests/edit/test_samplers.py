"""Samplers in the generation of edits, and requests that are refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.own_samplers import euler, heun
from helpers.tiny_models import pictures, stirred, tiny_base, tiny_clip

from clipdiff_jax.core.config import from_dict, to_dict
from clipdiff_jax.data.avatars.source import AvatarsData
from clipdiff_jax.edit.api import edit, generate_edited, reconstruct
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.edit.finetune import Finetuning, finetune_edit
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.stage import EditStage
from clipdiff_jax.pixel.stage import BaseStage

BASE, IMAGES = tiny_base(), pictures(2)
OBJECTIVE = EditObjective(
    source_text="a face", target_text="a smiling face", t0=300, invert_steps=4, train_steps=3
)
TUNED = Edit(BASE.config, stirred(BASE.params, 1, 0.02), OBJECTIVE, "")
SHIFTED = dataclasses.replace(
    TUNED, objective=dataclasses.replace(OBJECTIVE, mode="h_space", noise=0.0)
)
LATENTS = jax.random.normal(jax.random.key(5), IMAGES.shape)


@pytest.mark.slow
def test_generation_takes_a_sampler_by_name_or_of_ones_own():
    made = lambda sampler, key=0: generate_edited(
        LATENTS, BASE, TUNED, 0.5, t0=300, steps=6, sampler=sampler, key=key
    )
    plain = made("ddim")
    np.testing.assert_allclose(made(euler), plain, atol=1e-5)
    for sampler in ("heun", "dpm_solver"):
        other = made(sampler)
        assert 1e-5 < float(jnp.abs(other - plain).mean()) < 0.5, sampler
    drawn = made("ancestral")
    assert float(jnp.abs(drawn - made("ancestral", 1)).max()) > 1e-3
    np.testing.assert_array_equal(drawn, made("ancestral"))


@pytest.mark.slow
def test_ones_own_samplers_edit_and_converge_with_the_steps():
    made = lambda sampler: edit(IMAGES, BASE, TUNED, 0.5, t0=300, steps=8, sampler=sampler)
    np.testing.assert_allclose(made(euler), made("ddim"), atol=1e-5)
    np.testing.assert_allclose(made(heun), made("heun"), atol=1e-5)
    drawn = lambda sampler, steps: generate_edited(
        LATENTS, BASE, TUNED, 0.5, t0=300, steps=steps, sampler=sampler
    )
    fine = drawn("ddim", 300)
    coarse, finer = (float(jnp.abs(drawn(heun, steps) - fine).mean()) for steps in (5, 20))
    assert finer < coarse / 3
    assert finer < float(jnp.abs(drawn("ddim", 20) - fine).mean())


def test_samplers_where_generation_has_its_own_are_refused():
    with pytest.raises(ValueError, match="sampler 'heun' with the method 'edict'"):
        Editing(sampler="heun", method="edict")
    with pytest.raises(ValueError, match="sampler 'heun' with an edit in h-space"):
        edit(IMAGES, BASE, SHIFTED, sampler="heun")
    with pytest.raises(ValueError, match="Did you mean 'heun'"):
        edit(IMAGES, BASE, TUNED, sampler="huen")


def test_requests_that_do_not_fit_the_model_or_the_call_are_refused():
    with pytest.raises(ValueError, match="t0=1000, expected a number from 1 to 999"):
        edit(IMAGES, BASE, TUNED, t0=1000)
    with pytest.raises(ValueError, match="t0=2000, expected a number from 1 to 999"):
        reconstruct(IMAGES, BASE, editing=Editing(t0=2000))
    with pytest.raises(TypeError, match=r"no option 'step'. Did you mean 'steps'"):
        edit(IMAGES, BASE, TUNED, step=3)
    with pytest.raises(ValueError, match="need one strength or 2 of them, got 3"):
        edit(IMAGES, BASE, TUNED, np.ones(3, np.float32), steps=3)
    with pytest.raises(ValueError, match="give t0"):
        generate_edited(LATENTS, BASE, TUNED)
    with pytest.raises(ValueError, match="latents are generated from"):
        generate_edited(LATENTS, BASE, TUNED, t0=300, purify=1)
    with pytest.raises(TypeError, match=r"no option 'batchsize'. Did you mean 'batch_size'"):
        finetune_edit(IMAGES, BASE, tiny_clip(), "a", "b", batchsize=3)
    with pytest.raises(ValueError, match="passes=0"):
        Finetuning(passes=0)


def test_pictures_are_checked_at_the_entrance():
    with pytest.raises(ValueError, match="channels come last"):
        edit(IMAGES.transpose(0, 3, 1, 2), BASE, TUNED)
    with pytest.raises(ValueError, match="floats from 0 to 255"):
        reconstruct(np.linspace(0, 255, 48, dtype=np.float32).reshape(1, 4, 4, 3), BASE)


def test_configs_that_were_written_with_sentinels_still_read(tmp_path):
    """A t0 of 0 once stood for one to be found, and "" for no face encoder and no start."""
    asked = dataclasses.replace(OBJECTIVE, t0=None)
    stage = EditStage(data=AvatarsData(), objective=asked)
    written = to_dict(stage)
    written["objective"]["t0"], written["face"] = 0, ""
    assert from_dict(EditStage, written) == stage
    base = BaseStage(data=AvatarsData())
    assert from_dict(BaseStage, to_dict(base) | {"start": ""}) == base
    dataclasses.replace(TUNED, objective=asked).save(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"t0": null', '"t0": 0'))
    assert '"t0": 0' in config.read_text()
    assert load_edit(tmp_path).objective == asked
    with pytest.raises(ValueError, match="t0=0, expected 1 or more, or None"):
        dataclasses.replace(OBJECTIVE, t0=0)
    with pytest.raises(ValueError, match="still to be found"):
        edit(IMAGES, BASE, load_edit(tmp_path))


def test_an_edit_is_a_pytree_whose_description_is_part_of_the_program():
    leaves, tree = jax.tree.flatten(TUNED)
    assert len(leaves) == len(jax.tree.leaves(BASE.params))
    assert jax.tree.unflatten(tree, leaves).objective == OBJECTIVE
    total = jax.jit(lambda one: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(one)))
    assert np.isfinite(float(total(TUNED)))
