"""Samplers at a user's call: by name or a function of one's own, and what compiles anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.own_samplers import adams, euler, heun
from helpers.tiny_models import tiny_base

import clipdiff_jax as cd
from clipdiff_jax.pixel.model import _generate

BASE = tiny_base()


@pytest.mark.slow
def test_a_users_euler_is_ddim_with_the_demo_model():
    base = cd.load_diffusion("demo")
    ours, ddim = (base.generate(1, key=0, steps=3, sampler=one) for one in (euler, "ddim"))
    np.testing.assert_allclose(ours, ddim, atol=1e-5)
    assert float(jnp.std(ours)) > 0.1


@pytest.mark.slow
def test_a_users_heun_is_ours_and_rules_that_remember_run_too():
    ours, named = (BASE.generate(2, key=0, steps=20, sampler=one) for one in (heun, "heun"))
    np.testing.assert_allclose(ours, named, atol=1e-4)
    ddim = BASE.generate(2, key=0, steps=20)
    assert float(jnp.abs(ours - ddim).max()) > 1e-3
    ddim = BASE.generate(2, key=0, steps=4)
    remembered = BASE.generate(2, key=0, steps=4, sampler=adams)
    assert float(jnp.abs(remembered - ddim).max()) > 1e-3


def test_a_second_call_with_other_numbers_compiles_nothing():
    BASE.generate(2, key=0, steps=3, eta=0.5)
    BASE.generate(2, key=0, steps=3, threshold=99.0)
    compiled = _generate._cache_size()
    BASE.generate(2, key=jax.random.key(7), steps=3, eta=1.0, spacing="linspace")
    BASE.generate(key=jax.random.split(jax.random.key(3), 2), steps=3, eta=0.0)
    BASE.generate(2, key=1, sampling=cd.Sampling(steps=3, threshold=90.0))
    assert _generate._cache_size() == compiled


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'heun'"):
        BASE.generate(1, key=0, sampler="huen")
    with pytest.raises(ValueError, match="without text is not guided"):
        BASE.generate(1, key=0, guidance=2.0)
    with pytest.raises(TypeError, match=r"no option 'step'. Did you mean 'steps'"):
        BASE.generate(1, key=0, step=3)
    with pytest.raises(ValueError, match=r"eta=0.5 is of the sampler 'ddim'"):
        BASE.generate(1, key=0, sampler="heun", eta=0.5)
