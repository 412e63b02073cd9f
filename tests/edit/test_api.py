import dataclasses
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, stirred, tiny_base, tiny_clip
from safetensors.numpy import load_file, save_file

import clipdiff_jax as cd
from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.guidance import mix, strength
from clipdiff_jax.diffusion.inversion import inversion_grid, invert
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim
from clipdiff_jax.edit.api import _listed, edit, reconstruct
from clipdiff_jax.edit.finetune import finetune_edit
from clipdiff_jax.edit.latents import inverted
from clipdiff_jax.edit.model import Edit, load_edit
from clipdiff_jax.edit.presets import DEFAULT
from clipdiff_jax.edit.run import _generate, _purified, squares_for
from clipdiff_jax.edit.space import as_base
from clipdiff_jax.edit.stage import EditObjective
from clipdiff_jax.pixel.load import is_demo, save_diffusion
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.params import fingerprint

BASE, IMAGES = tiny_base(), pictures(3)
OBJECTIVE = EditObjective(
    source_text="a face", target_text="a smiling face", t0=300, invert_steps=4, train_steps=3
)
STEPS = {"steps": 4}


def tuned(seed: int, size: float = 0.02) -> Edit:
    params = stirred(BASE.params, seed, size)
    return Edit(BASE.config, params, OBJECTIVE, fingerprint(BASE.params))


ONE, TWO = tuned(1), tuned(2)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path / "cache"))


def by_hand(model, t0=300, steps=4):
    schedule = BASE.config.schedule
    grid = inversion_grid(t0, steps)
    latent = invert(BASE.denoise, schedule, grid, jnp.asarray(IMAGES))
    out = sample(model, ddim(schedule), ddim_grid(t0, steps), latent, None, None)
    return jnp.clip(out, -1, 1)


def denoise(one: Edit):
    return dataclasses.replace(BASE, params=one.params).denoise


def test_edit_inverts_with_the_base_and_generates_with_the_mixture():
    np.testing.assert_allclose(edit(IMAGES, BASE, ONE, **STEPS), by_hand(denoise(ONE)), atol=1e-4)
    half = by_hand(strength(BASE.denoise, denoise(ONE), 0.5))
    np.testing.assert_allclose(edit(IMAGES, BASE, ONE, 0.5, **STEPS), half, atol=1e-4)
    both = by_hand(mix([denoise(ONE), denoise(TWO)], [0.75, 0.25]))
    found = edit(IMAGES, BASE, [ONE, TWO], ratios=[3, 1], **STEPS)
    np.testing.assert_allclose(found, both, atol=1e-4)
    assert float(jnp.abs(found - by_hand(denoise(ONE))).max()) > 1e-3


def test_strength_zero_is_the_reconstruction_and_one_value_a_picture_is_allowed():
    plain = reconstruct(IMAGES, BASE, t0=300, steps=4)
    np.testing.assert_allclose(edit(IMAGES, BASE, ONE, 0.0, **STEPS), plain, atol=1e-4)
    mixed = edit(IMAGES, BASE, ONE, np.array([0.0, 1.0, 0.5], np.float32), **STEPS)
    np.testing.assert_allclose(mixed[0], plain[0], atol=1e-4)
    np.testing.assert_allclose(mixed[1], edit(IMAGES, BASE, ONE, **STEPS)[1], atol=1e-4)


def test_fixed_point_inversion_reconstructs_closer():
    error = lambda n: float(
        jnp.abs(reconstruct(IMAGES, BASE, t0=300, steps=4, fixed_point=n) - IMAGES).mean()
    )
    assert error(8) < 0.2 * error(0)


@pytest.mark.slow
def test_coupled_inversion_reconstructs_exactly_and_edits():
    exact = reconstruct(IMAGES, BASE, t0=300, steps=4, method="edict")
    np.testing.assert_allclose(exact, IMAGES, atol=1e-4)
    moved = edit(IMAGES, BASE, ONE, method="edict", **STEPS) - edit(IMAGES, BASE, ONE, **STEPS)
    away = edit(IMAGES, BASE, ONE, method="edict", **STEPS) - exact
    assert float(jnp.abs(away).max()) > 1e-3
    assert float(jnp.abs(moved).mean()) < float(jnp.abs(away).mean())


def test_methods_of_inversion_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="fixed_point=3 with method='edict': expected 0"):
        reconstruct(IMAGES, BASE, fixed_point=3, method="edict")
    with pytest.raises(ValueError, match="fixed_point=0 with method='fixed_point': expected 1"):
        reconstruct(IMAGES, BASE, method="fixed_point")


def test_random_inversion_depends_on_each_pictures_own_key():
    keys = jax.random.split(jax.random.key(0), 3)
    run = lambda images, key: edit(images, BASE, ONE, random_inversion=True, key=key, **STEPS)
    whole = run(IMAGES, keys)
    np.testing.assert_allclose(run(IMAGES[1:], keys[1:]), whole[1:], atol=1e-4)
    assert float(jnp.abs(run(IMAGES, 0) - run(IMAGES, 1)).max()) > 1e-3
    np.testing.assert_array_equal(run(IMAGES, 0), run(IMAGES, jax.random.key(0)))
    assert float(jnp.abs(run(IMAGES, 0) - edit(IMAGES, BASE, ONE, **STEPS)).max()) > 1e-3


def test_purifying_replaces_the_picture_by_the_models_own():
    plain = edit(IMAGES, BASE, ONE, **STEPS)
    once, twice = (edit(IMAGES, BASE, ONE, purify=n, **STEPS) for n in (1, 2))
    assert float(jnp.abs(once - plain).max()) > 1e-3
    assert float(jnp.abs(once - twice).max()) > 1e-3


def test_turning_what_a_user_turns_compiles_nothing_new():
    programs = (inverted, _generate, _purified)
    edit(IMAGES, BASE, [ONE, TWO], purify=1, **STEPS)
    compiled = [program._cache_size() for program in programs]
    edit(IMAGES, BASE, [TWO, ONE], 0.3, **STEPS)
    edit(IMAGES, BASE, [ONE, TWO], 1.7, ratios=[1, 4], key=5, **STEPS)
    edit(IMAGES, BASE, [ONE, TWO], t0=200, purify=3, **STEPS)
    assert [program._cache_size() for program in programs] == compiled


def test_pictures_of_any_size_become_squares_of_the_models_size():
    assert edit(pictures(2, 40)[:, :, :30], BASE, ONE, **STEPS).shape == (2, 16, 16, 3)


def test_what_cannot_be_edited_is_refused():
    other = dataclasses.replace(ONE, config=tiny_base(prediction="v").config)
    with pytest.raises(ValueError, match="another config"):
        edit(IMAGES, BASE, other)
    with pytest.raises(ValueError, match="2 edits need as many ratios"):
        edit(IMAGES, BASE, [ONE, TWO], ratios=[1])
    with pytest.raises(ValueError, match="positive sum"):
        edit(IMAGES, BASE, [ONE, TWO], ratios=[1, -1])
    with pytest.raises(ValueError, match="no edit"):
        edit(IMAGES, BASE, [])


def test_an_edit_knows_its_base():
    """Of the same config, but other parameters; one whose parameters are rounded may be it."""
    other = tiny_base(seed=5)
    with pytest.raises(ValueError, match=f"fingerprint '{ONE.base_fingerprint}', this base has"):
        edit(IMAGES, other, ONE)
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), BASE.params)
    out = edit(IMAGES, dataclasses.replace(BASE, params=half), ONE, **STEPS)
    assert np.isfinite(out).all()


@pytest.mark.parametrize("damage", ["lacks", "shape", "unknown", "kind"])
def test_an_edits_folder_is_checked_against_its_config(tmp_path, damage):
    ONE.save(tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    tensors = {name: np.array(array) for name, array in load_file(file).items()}
    name = next(iter(tensors))
    array = tensors.pop(name)
    if damage == "shape":
        tensors[name] = array.ravel()[:1]
    if damage == "kind":
        tensors[name] = array.astype(np.int32)
    if damage == "unknown":
        tensors |= {name: array, "more": array}
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=rf"model\.safetensors' does not fit.*({name}|'more')"):
        load_edit(tmp_path)


def test_an_edit_is_saved_and_loaded(tmp_path):
    ONE.save(tmp_path / "run" / "model")
    for path in (tmp_path / "run", tmp_path / "run" / "model"):
        loaded = load_edit(path)
        assert loaded.objective == OBJECTIVE
        assert loaded.config == BASE.config
        assert loaded.base_fingerprint == ONE.base_fingerprint
        for a, b in zip(jax.tree.leaves(loaded.params), jax.tree.leaves(ONE.params), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(WeightsError):
        load_edit(tmp_path / "nothing")


@pytest.mark.slow
def test_finetune_in_one_call():
    learned = finetune_edit(
        IMAGES, BASE, tiny_clip(), "a face", "a smiling face",
        passes=3, batch_size=2, learning_rate=1e-3, progress=False,
        t0=300, invert_steps=4, train_steps=3,
    )  # fmt: skip
    settings = DEFAULT | {"t0": 300, "invert_steps": 4, "train_steps": 3}
    assert learned.objective == dataclasses.replace(OBJECTIVE, **settings)
    assert learned.base_fingerprint == fingerprint(BASE.params)
    moved = jnp.abs(
        edit(IMAGES, BASE, learned, **STEPS) - reconstruct(IMAGES, BASE, t0=300, **STEPS)
    )
    assert float(moved.max()) > 1e-3


def test_the_demo_says_that_it_knows_no_photographs():
    base = cd.load_diffusion("demo")
    assert is_demo(base)
    assert not is_demo(tiny_base())
    y, x = np.mgrid[0:64, 0:64] / 32 - 1
    noise = np.random.default_rng(0).normal(0, 0.03, (64, 64, 3))
    photograph = (0.8 * np.stack([x, y, x * y], -1) + noise).clip(-1, 1).astype(np.float32)
    with pytest.warns(UserWarning, match="look like photographs"):
        squares_for(photograph, base)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        squares_for(np.zeros((64, 64, 3), np.float32), base)
        squares_for(photograph, tiny_base())


def test_what_is_no_edit_or_no_base():
    """Outside of tests, where types are not checked."""
    with pytest.raises(TypeError, match=r"edit is 'smile', .* clipdiff_jax\.load_edit\('smile'\)"):
        inspect.unwrap(_listed)("smile")
    with pytest.raises(TypeError, match="base is a Clip, expected a Diffusion"):
        inspect.unwrap(as_base)(tiny_clip())


def test_an_edit_loads_the_model_it_was_tuned_from(tmp_path):
    save_diffusion(tmp_path / "base", BASE.config, BASE.params)
    known = dataclasses.replace(ONE, base_source=str(tmp_path / "base"))
    known.save(tmp_path / "edit")
    found = load_edit(tmp_path / "edit")
    assert found.base_source == str(tmp_path / "base")
    expected = edit(IMAGES, BASE, ONE, **STEPS)
    np.testing.assert_array_equal(edit(IMAGES, None, found, **STEPS), expected)
    np.testing.assert_array_equal(edit(IMAGES, edit=found, **STEPS), expected)
    with pytest.raises(ValueError, match="does not say where the model is"):
        edit(IMAGES, None, ONE, **STEPS)
    save_diffusion(tmp_path / "base", BASE.config, stirred(BASE.params, 5, 0.1))
    with pytest.raises(ValueError, match=r"was tuned from '.*base' with the fingerprint"):
        edit(IMAGES, None, found, **STEPS)
