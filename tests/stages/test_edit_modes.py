"""The ways of learning an edit that do without the unrolled steps: noised, and in h-space."""

import dataclasses
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny_models import pictures, stirred, tiny_base, tiny_clip

from clipdiff_jax.diffusion.sampler import ddim, ddim_grid
from clipdiff_jax.pipelines.edit import Edit, edit, load_edit, reconstruct
from clipdiff_jax.pipelines.h_space import init_h_space
from clipdiff_jax.stages.edit import EditObjective, make_stage
from clipdiff_jax.train.config import TrainConfig
from clipdiff_jax.train.loop import fit
from clipdiff_jax.train.optim import OptimConfig
from clipdiff_jax.weights import fingerprint

BASE, CLIP, IMAGES = tiny_base(), tiny_clip(), pictures(4)
STEPS = {"steps": 3}
H_SPACE = EditObjective(
    source_text="a face", target_text="a smiling face", mode="h_space", t0=300, invert_steps=3,
    train_steps=3, t_edit=100, l1=0.1,
)  # fmt: skip


def stage_and_batch(objective):
    stage = make_stage(objective, BASE, CLIP, IMAGES, progress=False)
    examples = [stage.source[i] for i in range(4)]
    return stage, {key: jnp.stack([e[key] for e in examples]) for key in examples[0]}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        # One round of training is compiled rather than each: laid out they take twice as long.
        patch.setattr("clipdiff_jax.train.step.loops_are_slow", lambda: False)
        yield


@pytest.fixture(scope="module")
def h_space():
    """The stage, a batch, what its loss says before any training, and what is learned."""
    stage, batch = stage_and_batch(H_SPACE)
    start = stage.init(jax.random.key(0))
    before = jax.jit(stage.loss)(start, stage.frozen, batch, jax.random.key(1))
    config = TrainConfig(steps=10, batch_size=4, optim=OptimConfig(learning_rate=1e-2))
    params = fit(stage, config, progress=True).params
    after = jax.jit(stage.loss)(params, stage.frozen, batch, jax.random.key(1))
    learned = Edit(BASE.config, params, H_SPACE, fingerprint(BASE.params))
    return stage, batch, before, after, learned


def test_h_space_begins_as_the_base_model_and_goes_on_by_its_own_step(h_space):
    stage, batch, (_, aux), _, _ = h_space
    assert stage.rounds == 2  # of the times 300, 150 and 0 those from t_edit = 100 on
    assert float(aux.metrics["l1"]) == 0
    assert float(aux.metrics["s_dir"]) == 0
    times = jnp.asarray(ddim_grid(300, 3))
    plain = BASE.denoise(batch["latent"], times[0], None)
    step = ddim(BASE.config.schedule)(batch["latent"], plain, times[0], times[1], None)
    np.testing.assert_allclose(aux.batch["latent"], step, atol=1e-5)
    np.testing.assert_array_equal(aux.batch["index"], 1)


def test_h_space_learns_the_direction_with_the_base_frozen(h_space):
    stage, _, (value, before), (lower, after), learned = h_space
    assert set(learned.params) == {"conv_0", "time", "norm", "conv_1"}
    assert float(lower) < float(value) - 0.1
    assert float(after.metrics["s_dir"]) > float(before.metrics["s_dir"]) + 0.1
    for a, b in zip(
        jax.tree.leaves(stage.frozen["base"]), jax.tree.leaves(BASE.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_an_edit_in_h_space_is_applied_scaled_and_mixed(h_space, tmp_path):
    learned = h_space[-1]
    plain = reconstruct(IMAGES, BASE, t0=300, **STEPS)
    none = dataclasses.replace(learned, params=init_h_space(BASE.config, jax.random.key(0)))
    np.testing.assert_allclose(edit(IMAGES, BASE, none, **STEPS), plain, atol=1e-5)
    strengths = np.array([0.0, 0.5, 1.0, -1.0], np.float32)
    moved = jnp.abs(edit(IMAGES, BASE, learned, strengths, **STEPS) - plain).max((1, 2, 3))
    assert float(moved[0]) < 1e-5
    assert float(moved[2]) > 1e-3
    assert float(moved[3]) > 1e-3
    assert float(moved[1]) > 1e-4
    learned.save(tmp_path)
    tuned = Edit(
        BASE.config,
        stirred(BASE.params, 1, 0.02),
        dataclasses.replace(H_SPACE, mode="unrolled", t_edit=0),
        "",
    )
    both = edit(IMAGES, BASE, [load_edit(tmp_path), tuned], ratios=[1, 0], **STEPS)
    np.testing.assert_allclose(both, edit(IMAGES, BASE, learned, **STEPS), atol=1e-5)
    with pytest.raises(ValueError, match="edict"):
        edit(IMAGES, BASE, learned, method="edict", **STEPS)


def test_noised_pictures_teach_the_direction_without_inversion():
    objective = EditObjective(
        source_text="a face", target_text="a smiling face", mode="noised", t0=300, invert_steps=3,
        train_steps=3, l1=0.1,
    )  # fmt: skip
    stage, batch = stage_and_batch(objective)
    assert (stage.rounds, objective.evaluations) == (1, 1)
    loss = jax.jit(stage.loss)
    value, aux = loss(stage.start, stage.frozen, batch, jax.random.key(1))
    assert aux.batch is None
    # Times are drawn anew with every key; the guess of little noise is the picture itself.
    other = loss(stage.start, stage.frozen, batch, jax.random.key(2))[0]
    assert abs(float(value - other)) > 1e-4
    config = TrainConfig(steps=12, batch_size=4, optim=OptimConfig(learning_rate=2e-3))
    params = fit(stage, config, progress=True).params
    lower, after = loss(params, stage.frozen, batch, jax.random.key(1))
    assert float(lower) < float(value)
    assert float(after.metrics["s_dir"]) > float(aux.metrics["s_dir"]) + 0.05


def test_what_only_h_space_has_is_refused_elsewhere():
    with pytest.raises(ValueError, match="t_edit=100 is for mode 'h_space', not 'unrolled'"):
        dataclasses.replace(H_SPACE, mode="unrolled")
    with pytest.raises(ValueError, match="t_boost must lie between 0 and t0=300, got 301"):
        dataclasses.replace(H_SPACE, t_boost=301)
    with pytest.raises(ValueError, match="the base model stays as it is"):
        dataclasses.replace(H_SPACE, noise=1.0)
