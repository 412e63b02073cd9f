"""Samplers of a user's own in the calls of an unCLIP, and an unCLIP handed to `jax.jit`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.own_samplers import adams, euler, heun
from helpers.tiny_karlo import write_karlo

import clipdiff_jax as cd


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return cd.load_unclip(write_karlo(tmp_path_factory.mktemp("karlo") / "karlo"))


@pytest.fixture(scope="module")
def z(model):
    return model.encode_texts(["a cat", "b"]).embedding


def test_decoding_takes_ones_own_samplers(model, z):
    made = lambda sampler, steps=3: model.decode(z, key=0, steps=steps, sampler=sampler)
    plain = made("ddim")
    np.testing.assert_allclose(made(euler), plain, atol=1e-4)
    np.testing.assert_allclose(made(heun), made("heun"), atol=1e-4)
    assert float(jnp.abs(made(adams) - plain).max()) > 1e-3


def test_every_call_that_draws_takes_one(model, z):
    drawn = model.generate(["a cat"], key=0, steps=2, upsample_steps=2, sampler=euler)
    named = model.generate(["a cat"], key=0, steps=2, upsample_steps=2, sampler="ddim")
    np.testing.assert_allclose(drawn, named, atol=1e-3)
    small = model.decode(z, key=0, steps=2)
    large = [model.upsample(small, key=0, steps=2, sampler=one) for one in (euler, "ddim")]
    np.testing.assert_allclose(*large, atol=1e-4)


def test_an_unclip_is_an_argument_of_a_compiled_function(model):
    """Its tokenizer, configs and dtype are part of the program, its parameters are not."""

    @jax.jit
    def norm(one, images):
        return jnp.linalg.norm(one.part("decoder").params["conv_in"]["bias"]) + images.mean()

    leaves, tree = jax.tree.flatten(model)
    again = jax.tree.unflatten(tree, [2 * leaf for leaf in leaves])
    x = jnp.zeros((1, 4, 4, 3))
    np.testing.assert_allclose(norm(again, x), 2 * norm(model, x), rtol=1e-6)
    assert norm._cache_size() == 1
    assert again.loaded == model.loaded
