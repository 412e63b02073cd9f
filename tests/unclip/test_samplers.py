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


def apart(first, second) -> float:
    """In the median: at x / alpha in the thousands Euler's rule loses digits, and a network of
    random weights makes the most of them at a few pixels."""
    return float(jnp.median(jnp.abs(first - second)))


@pytest.mark.slow
def test_decoding_takes_ones_own_samplers(model, z):
    made = lambda sampler: model.decode(z, key=0, steps=12, sampler=sampler)
    plain = made("ddim")
    assert apart(made(euler), plain) < 1e-3
    for sampler in ("heun", heun, adams):
        other = made(sampler)
        assert jnp.isfinite(other).all()
        assert apart(other, plain) > 1e-3


@pytest.mark.slow
def test_every_call_that_draws_takes_one(model, z):
    drawn, named = (
        model.generate(["a cat"], key=0, steps=2, upsample_steps=2, sampler=one)
        for one in (euler, "ddim")
    )
    assert apart(drawn, named) < 1e-2
    small = model.decode(z, key=0, steps=2)
    assert (
        apart(*(model.upsample(small, key=0, steps=2, sampler=s) for s in (euler, "ddim"))) < 1e-3
    )


def test_an_unclip_is_an_argument_of_a_compiled_function(model):
    """Its tokenizer, configs and dtype are part of the program, its parameters are not."""

    @jax.jit
    def norm(one, images):
        return sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(one.decoder)) + images.mean()

    leaves, tree = jax.tree.flatten(model)
    again = jax.tree.unflatten(tree, [2 * leaf for leaf in leaves])
    x = jnp.zeros((1, 4, 4, 3))
    np.testing.assert_allclose(norm(again, x), 2 * norm(model, x), rtol=1e-5)
    assert norm._cache_size() == 1
    assert again.loaded == model.loaded
