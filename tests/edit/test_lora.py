"""Edits of low rank: learned, applied, added, kept on disk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import drawn, pictures, tiny_base, tiny_clip

from clipdiff_jax.edit.api import edit, reconstruct
from clipdiff_jax.edit.editing import Editing
from clipdiff_jax.edit.finetune import finetune_edit
from clipdiff_jax.edit.model import Edit, init_of, load_edit
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.run import edited_denoiser, learned_by
from clipdiff_jax.edit.stage import make_stage
from clipdiff_jax.models.lora import merged
from clipdiff_jax.weights.errors import WeightsError

BASE, CLIP, IMAGES = tiny_base(), tiny_clip(), pictures(2)
OBJECTIVE = EditObjective(
    source_text="a face", target_text="a smiling face", parameters="lora", rank=2, t0=300,
    invert_steps=2, train_steps=2, l1=0.1, noise=0.5,
)  # fmt: skip
X = jax.random.normal(jax.random.key(5), IMAGES.shape)


def learned(seed, **changes):
    objective = dataclasses.replace(OBJECTIVE, **changes)
    params = jax.tree.map(lambda p: 0.1 * p, drawn(init_of(objective, BASE.config), seed))
    return Edit(BASE.config, params, objective, BASE.fingerprint)


def of(edits, weights, **editing):
    parts = learned_by(BASE, edits, Editing(**editing))
    return edited_denoiser(BASE, parts, jnp.asarray(weights))(X, jnp.int32(100), None).eps


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["unrolled", "single_step", "noised"])
def test_only_the_change_learns_and_it_learns_as_the_whole_model_does(mode):
    """At the start the gradient of B is A^T times the whole kernel's, as eq. 1 has it."""
    objective = dataclasses.replace(OBJECTIVE, mode=mode)
    batch = {"image": jnp.asarray(IMAGES), "latent": X, "index": jnp.zeros(2, jnp.int32)}
    key = jax.random.key(1)

    def slope(objective):
        stage = make_stage(objective, BASE, CLIP, IMAGES, invert=False)
        params = stage.init(jax.random.key(0)) if stage.start is None else stage.start
        gradient = jax.jit(jax.grad(lambda p: stage.loss(p, stage.frozen, batch, key)[0]))
        return params, gradient(params)

    change, low = slope(objective)
    _, whole = slope(dataclasses.replace(objective, parameters="all"))
    layer = ("mid_res_0", "conv_0")
    down = change[layer[0]][layer[1]]["down"].reshape(-1, 2)
    wanted = down.T @ whole[layer[0]][layer[1]]["kernel"].reshape(down.shape[0], -1)
    np.testing.assert_allclose(low[layer[0]][layer[1]]["up"], wanted, rtol=2e-3, atol=1e-6)
    assert float(jnp.abs(wanted).max()) > 1e-5


@pytest.mark.slow
def test_strength_scales_the_change_itself():
    one = learned(1)
    scaled = dataclasses.replace(BASE, params=merged(BASE.params, one.params, 0.3))
    wanted = scaled.denoise(X, jnp.int32(100), None).eps
    np.testing.assert_allclose(of([one], [0.3, 0.3]), wanted, atol=2e-5)
    plain = BASE.denoise(X, jnp.int32(100), None).eps
    np.testing.assert_allclose(of([one], [0.0, 0.0]), plain, atol=1e-6)


def test_several_add_up_each_at_its_part_of_the_strength():
    """As sliders have it: strengths of 0.5 and 1 are 1.5 in these ratios, whatever their sum."""
    one, other = learned(1), learned(2)
    params = merged(merged(BASE.params, one.params, 0.5), other.params, 1.0)
    wanted = dataclasses.replace(BASE, params=params).denoise(X, jnp.int32(100), None).eps
    for ratios in ((0.5, 1.0), (1.0, 2.0)):
        made = of([one, other], [1.5, 1.5], ratios=ratios)
        np.testing.assert_allclose(made, wanted, atol=2e-5)
    alone = of([one], [0.5, 0.5], ratios=(0.5,))
    np.testing.assert_allclose(alone, of([one], [0.5, 0.5]), atol=1e-6)


def test_beside_an_edit_of_the_whole_model_it_is_mixed_in():
    tuned = Edit(
        BASE.config, merged(BASE.params, learned(3).params),
        dataclasses.replace(OBJECTIVE, parameters="all"), BASE.fingerprint,
    )  # fmt: skip
    both = of([tuned, learned(1)], [1.0, 1.0], ratios=(1.0, 3.0))
    wanted = 0.25 * of([tuned], [1.0, 1.0]) + 0.75 * of([learned(1)], [1.0, 1.0])
    np.testing.assert_allclose(both, wanted, atol=2e-5)


def test_it_is_kept_on_disk_and_is_small(tmp_path):
    one = learned(1)
    one.save(tmp_path / "edit")
    back = load_edit(tmp_path / "edit")
    options = {"steps": 3, "strength": np.array([0.0, 1.5], np.float32)}
    made = edit(IMAGES, BASE, back, **options)
    np.testing.assert_array_equal(made, edit(IMAGES, BASE, one, **options))
    np.testing.assert_allclose(made[0], reconstruct(IMAGES, BASE, steps=3, t0=300)[0], atol=1e-5)
    wrong = dataclasses.replace(one, objective=dataclasses.replace(OBJECTIVE, rank=3))
    wrong.save(tmp_path / "wrong")
    with pytest.raises(WeightsError, match="shape"):
        load_edit(tmp_path / "wrong")


@pytest.mark.slow
def test_it_is_learned_in_one_call():
    options = {"passes": 2, "batch_size": 2, "invert_steps": 2, "train_steps": 2, "t0": 300}
    one = finetune_edit(
        IMAGES, BASE, CLIP, "a face", "a smiling face", parameters="lora", rank=1, progress=False,
        trainable="^mid_", **options,
    )  # fmt: skip
    assert set(one.params) == {"mid_res_0", "mid_res_1"}
    assert any(np.abs(layer["up"]).max() > 0 for layer in one.params["mid_res_0"].values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "h_space", "noise": 0.0}, "mode 'h_space' trains a network of its own"),
        ({"rank": 0}, "rank"),
    ],
)
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(OBJECTIVE, **options)
