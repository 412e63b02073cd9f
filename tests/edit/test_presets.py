"""The presets hold the numbers they were measured with; the published recipe is the published."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from helpers.paths import CONFIGS

from clipdiff_jax.core.config import ConfigError
from clipdiff_jax.core.recipes import load_config
from clipdiff_jax.edit.objective import EditObjective
from clipdiff_jax.edit.presets import DEFAULT, PRESETS, default_rate, preset
from clipdiff_jax.models.unet import UNet, UNetConfig
from clipdiff_jax.perceptual.directional import direction_term
from clipdiff_jax.training.config import RunConfig
from clipdiff_jax.training.optim import learning_rate, trainable_mask


def differing(a, b) -> set[str]:
    names = [field.name for field in dataclasses.fields(a)]
    return {name for name in names if getattr(a, name) != getattr(b, name)}


@pytest.mark.parametrize(
    ("name", "images", "steps", "numbers", "rate"),
    [
        ("smile", 32, 80, (500, 3.0, 3.0, 1.5, 0.75), 2e-4),
        ("glasses", 16, 28, (400, 4.0, 3.0, 1.5, 0.75), 2e-4),
        ("red_hair", 32, 40, (600, 2.0, 2.0, 1.0, 0.65), 2e-4),
        ("pixel_art", 32, 40, (700, 1.0, 0.0, 0.0, 0.5), 2.5e-4),
    ],
)
def test_recipes_keep_the_numbers_that_were_measured(name, images, steps, numbers, rate):
    config = load_config(CONFIGS / "avatars" / f"edit_{name}.py", RunConfig)
    said = config.stage.objective
    assert (said.t0, said.l1, said.noise, said.length, said.wanted_length) == numbers
    assert (config.stage.images, config.train.batch_size, config.train.steps) == (images, 4, steps)
    assert (said.mode, said.augmentations, said.train_steps) == ("unrolled", 4, 6)
    assert config.train.optim.learning_rate == rate
    assert config == load_config(f"{CONFIGS}/edit_presets.py:{name}", RunConfig)


@pytest.mark.parametrize("name", ["beard", "long_hair", "red_clothes"])
def test_inner_levels_are_trained_and_the_finest_is_held(name):
    unet = UNetConfig(in_channels=3, channels=(32, 32, 32), blocks=1, attention_levels=(2,))
    pictures = jnp.zeros((1, 16, 16, 3)), jnp.zeros(1)
    params = jax.eval_shape(UNet(unet).init, jax.random.key(0), *pictures)["params"]
    mask = trainable_mask(params, preset(name).objective.trainable)
    trained = {part for part in mask if any(jax.tree.leaves(mask[part]))}
    held = {part for part in mask if not all(jax.tree.leaves(mask[part]))}
    assert not trained & held
    assert {"conv_in", "conv_out", "down_0_res_0", "up_0_res_0", "embedding"} <= held
    assert {"down_1_res_0", "down_2_attn_0", "mid_res_0", "up_2_res_0", "up_1_res_1"} <= trained


def test_pictures_to_learn_from_are_those_the_edit_starts_at():
    assert preset("red_hair").only == ("style=avataaars", "hair_color=black")
    assert preset("pixel_art").only == ("style=avataaars",)
    for one in PRESETS.values():
        assert one.target not in one.sources


def test_the_published_recipe_is_the_plain_objective_and_nothing_else():
    ours, theirs = preset("smile"), preset("published/smile")
    texts = {"source_text": "serious", "target_text": "smiling"}
    plain = EditObjective(**texts, templates=ours.objective.templates)
    assert theirs.objective == plain
    assert (plain.t0, plain.invert_steps, plain.train_steps) == (400, 40, 6)
    assert (plain.directional, plain.form, plain.l1) == (3.0, "log", 1.0)
    assert (plain.identity, plain.noise, plain.length, plain.augmentations) == (0, 0, 0, 0)
    nowhere = float(direction_term(jnp.zeros(())))
    assert nowhere == pytest.approx(0.6931, abs=1e-4)  # -log((2 - L_dir) / 2), L_dir = 1
    assert differing(ours, theirs) == {"objective", "optim", "images", "batch_size", "passes"}
    assert preset("published/pixel_art").objective.t0 == 601


def test_the_published_rate_rises_with_every_pass():
    theirs = preset("published/glasses")
    assert (theirs.images, theirs.batch_size, theirs.passes, theirs.steps) == (50, 1, 5, 250)
    assert (theirs.optim.clip_norm, theirs.optim.weight_decay) == (None, 0)
    rate = learning_rate(theirs.optim, theirs.steps)
    for update, expected in ((0, 8e-6), (49, 8e-6), (50, 1.04e-5), (249, 8e-6 * 1.3**4)):
        assert float(rate(update)) == pytest.approx(expected, rel=1e-5)


def test_the_default_rate_is_ours_at_our_size_and_the_published_at_theirs():
    assert default_rate(6_900_000) == pytest.approx(preset("smile").optim.learning_rate)
    assert default_rate(113_700_000) == pytest.approx(preset("published/smile").optim.learning_rate)
    assert 8e-6 < default_rate(30_000_000) < 2e-4
    rate = default_rate(30_000_000)
    assert default_rate(30_000_000, "noised") < default_rate(30_000_000, "single_step") < rate
    # The network learned in h-space is a small one, whatever the model's size.
    assert default_rate(30_000_000, "h_space") == default_rate(113_700_000, "h_space") > 2e-4


def test_the_default_is_a_part_of_the_face_at_a_t0_of_its_own():
    default = EditObjective(source_text="serious", target_text="smiling", **DEFAULT)
    assert differing(default, preset("smile").objective) == {"t0", "templates"}
    assert default.t0 is None


def test_recipes_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'glasses'"):
        preset("glases")
    with pytest.raises(ConfigError, match="no edit preset"):
        load_config(f"{CONFIGS}/edit_presets.py:", RunConfig)
    with pytest.raises(ConfigError, match=r"several: write PATH\.py:NAME"):
        load_config(CONFIGS / "edit_presets.py", RunConfig)
    with pytest.raises(ConfigError, match="no part 'smile'"):
        load_config(f"{CONFIGS}/avatars/edit_smile.py:smile", RunConfig)
