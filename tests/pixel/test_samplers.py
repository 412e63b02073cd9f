"""Samplers at a user's call: by name or a function of one's own, and what compiles anew."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny_models import tiny_base

import clipdiff_jax as cd
from clipdiff_jax.diffusion.sampler import Multistep, Reevaluating
from clipdiff_jax.pixel.model import _generate

BASE = tiny_base()


def euler(schedule):
    """The differential equation of DDIM in x / alpha and the noise level sigma / alpha."""

    def step(x, prediction, t, t_next, z):
        alpha, after = schedule.alpha(t), schedule.alpha(t_next)
        change = schedule.sigma(t_next) / after - schedule.sigma(t) / alpha
        return after * (x / alpha + change * prediction.eps)

    return step


def heun(schedule):
    """The mean of the slopes at both ends of Euler's step."""
    forward = euler(schedule)

    def step(again, x, prediction, t, t_next, z):
        guess = forward(x, prediction, t, t_next, z)
        slope = again(guess, jnp.maximum(t_next, 0)).eps
        both = prediction._replace(eps=(prediction.eps + slope) / 2)
        return jnp.where(t_next < 0, guess, forward(x, both, t, t_next, z))

    return Reevaluating(step)


def adams(schedule):
    """Two steps of Adams and Bashforth: the slope goes on as it has changed."""
    forward = euler(schedule)

    def step(before, x, prediction, t, t_next, z):
        first, last = before
        eps = jnp.where(first, prediction.eps, 1.5 * prediction.eps - 0.5 * last)
        after = forward(x, prediction._replace(eps=eps), t, t_next, z)
        return (jnp.bool_(False), prediction.eps), after

    return Multistep(lambda x: (jnp.bool_(True), x), step)


def test_a_users_euler_is_ddim_with_the_demo_model():
    base = cd.load_diffusion("demo")
    ours, ddim = (base.generate(1, key=0, steps=3, sampler=one) for one in (euler, "ddim"))
    np.testing.assert_allclose(ours, ddim, atol=1e-5)
    assert float(jnp.std(ours)) > 0.1


def test_a_users_heun_is_ours_and_rules_that_remember_run_too():
    ours, named = (BASE.generate(2, key=0, steps=4, sampler=one) for one in (heun, "heun"))
    np.testing.assert_allclose(ours, named, atol=1e-4)
    ddim = BASE.generate(2, key=0, steps=4)
    assert float(jnp.abs(ours - ddim).max()) > 1e-3
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
