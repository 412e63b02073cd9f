import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import pictures, tiny_base

from clipdiff_jax.diffusion.inversion import inversion_grid, invert
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.edit import latents
from clipdiff_jax.edit.latents import Inversion, invert_images
from clipdiff_jax.weights.params import fingerprint

BASE, IMAGES = tiny_base(), pictures(5)
GRID, SETTINGS = Inversion(300, 4), {"batch_size": 2, "progress": False}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPDIFF_JAX_CACHE", str(tmp_path))
    return tmp_path / "latents"


def test_latents_are_those_of_the_inversion_whatever_the_batch():
    found = invert_images(BASE, IMAGES, GRID, **SETTINGS)
    expected = invert(
        BASE.denoise, BASE.config.schedule, inversion_grid(300, 4), jnp.asarray(IMAGES)
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_second_call_reads_the_cache(cache, monkeypatch):
    first = invert_images(BASE, IMAGES, GRID, **SETTINGS)
    monkeypatch.setattr(latents, "_invert_all", None)
    np.testing.assert_array_equal(invert_images(BASE, IMAGES, GRID, **SETTINGS), first)
    assert len(list(cache.iterdir())) == 1


def test_model_schedule_data_and_grid_each_have_their_own_file(cache):
    config = dataclasses.replace(
        BASE.config, schedule=DiscreteSchedule(num_steps=1000, beta_end=0.03)
    )
    params = dict(BASE.params, conv_out=jax.tree.map(lambda x: x + 1e-6, BASE.params["conv_out"]))
    pixels = IMAGES.copy()
    pixels[4, 0, 0, 0] += 1 / 255
    runs = [
        (BASE, IMAGES, GRID),
        (dataclasses.replace(BASE, params=params), IMAGES, GRID),
        (dataclasses.replace(BASE, config=config), IMAGES, GRID),
        (BASE, pixels, GRID),
        (BASE, IMAGES, Inversion(301, 4)),
        (BASE, IMAGES, Inversion(300, 5)),
        (BASE, IMAGES, Inversion(300, 4, fixed_point=1)),
    ]
    for number, (base, images, grid) in enumerate(runs, 1):
        invert_images(base, images, grid, **SETTINGS)
        assert len(list(cache.iterdir())) == number
    invert_images(BASE, IMAGES, GRID, batch_size=3, progress=False)
    assert len(list(cache.iterdir())) == len(runs)


def test_a_broken_cache_file_is_replaced(cache, caplog):
    first = invert_images(BASE, IMAGES, GRID, **SETTINGS)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    np.testing.assert_array_equal(invert_images(BASE, IMAGES, GRID, **SETTINGS), first)
    assert "unreadable cache" in caplog.text
    with np.load(file) as stored:
        np.testing.assert_array_equal(stored["latents"], first)


def test_fingerprint_sees_names_shapes_and_values():
    a = {"x": {"w": np.ones((2, 3), np.float32)}}
    assert fingerprint(a) == fingerprint({"x": {"w": np.ones((2, 3), np.float64)}})
    others = (
        {"x": {"v": np.ones((2, 3))}},
        {"x": {"w": np.ones((3, 2))}},
        {"x": {"w": np.zeros((2, 3))}},
    )
    assert len({fingerprint(tree) for tree in (a, *others)}) == 4
