"""CLIP-guided sampling as a user calls it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.own_samplers import adams, heun
from helpers.tiny_models import drawn as random_params
from helpers.tiny_models import pictures, tiny_base, tiny_clip

import clipdiff_jax as cd
from clipdiff_jax.guided import api
from clipdiff_jax.guided.guiding import Guiding
from clipdiff_jax.models.pixel import init_params

BASE, CLIP = tiny_base(), tiny_clip()
FEW = {"steps": 4, "cutouts": 3}


def drawn(prompts="a smiling face", key=0, **options):
    return cd.clip_guided(BASE, CLIP, prompts, key=key, **{**FEW, **options})


@pytest.mark.slow
def test_without_weights_it_is_the_plain_walk():
    nothing = {"scale": 0.0, "tv": 0.0, "range": 0.0}
    free = dataclasses.replace(BASE.config.sampling, bound=None)
    plain = dataclasses.replace(BASE, config=dataclasses.replace(BASE.config, sampling=free))
    wanted = plain.generate(2, key=0, steps=4)
    np.testing.assert_allclose(drawn(count=2, **nothing), wanted, atol=1e-3)
    wanted = plain.generate(2, key=0, steps=4, sampler="ancestral")
    np.testing.assert_allclose(drawn(count=2, sampler="ancestral", **nothing), wanted, atol=1e-3)


@pytest.mark.slow
def test_a_picture_depends_on_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 3)
    three = drawn(key=keys, eta=0.5)
    np.testing.assert_allclose(drawn(key=keys[1:2], eta=0.5)[0], three[1], atol=1e-4)
    np.testing.assert_array_equal(drawn(key=keys, eta=0.5), three)
    assert float(jnp.abs(three[0] - three[1]).max()) > 0.1


@pytest.mark.slow
def test_guidance_brings_the_pictures_nearer_to_the_text():
    prompts = api.weighted("a smiling face")
    critic = api.make_critic(CLIP, prompts, jax.random.key(0), 1, 1.0)
    distance = lambda x: float(critic.distance(x[:, None]).mean())
    weights = {"tv": 0.0, "range": 0.0, "steps": 20, "clamp": 0.5, "power": 0.0, "cutouts": 1}
    free, led = (drawn(count=4, scale=s, **weights) for s in (0.0, 1000.0))
    away = drawn("a smiling face:-1", count=4, scale=1000.0, **weights)
    assert distance(led) < distance(free) < distance(away)


def test_other_prompts_weights_and_seeds_compile_nothing():
    drawn(count=2)
    compiled = api._step._cache_size()
    drawn(["a smiling face:2"], key=5, count=2, scale=3.0, tv=1.0, range=0.0, power=2.0, clamp=1.0)
    drawn("a face", count=2, clamp=None, eta=0.3, steps=7)
    assert api._step._cache_size() == compiled


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["ancestral", "dpm_solver", "heun", adams, heun])
def test_every_kind_of_sampler_is_guided(sampler):
    free, led = (drawn(sampler=sampler, scale=s, tv=0.0, range=0.0, steps=6) for s in (0.0, 1000.0))
    assert led.shape == (1, 16, 16, 3)
    assert jnp.isfinite(led).all()
    assert float(jnp.abs(free - led).max()) > 1e-3


def test_a_start_picture_is_kept_the_more_steps_are_skipped():
    start = pictures(2)
    apart = lambda **options: float(jnp.abs(drawn(init=start, steps=10, **options) - start).mean())
    assert apart(skip=9) < apart(skip=5) < apart(skip=0)
    assert apart(init_scale=1e3, scale=0.0, clamp=0.5) < apart(scale=0.0, clamp=0.5)


@pytest.mark.slow
def test_several_clips_add_up_and_pictures_are_prompts():
    second = tiny_clip(1)
    one, both = drawn(), cd.clip_guided(BASE, [CLIP, second], "a smiling face", key=0, **FEW)
    assert float(jnp.abs(one - both).max()) > 1e-4
    keys = jax.random.split(jax.random.key(4), 2)
    seen = drawn([pictures(1)[0], "a face:0.5"], key=keys)
    assert jnp.isfinite(seen).all()
    alone = drawn([pictures(1)[0], "a face:0.5"], key=keys[1:])
    np.testing.assert_allclose(alone[0], seen[1], atol=1e-4)


@pytest.mark.slow
def test_classes_are_given_or_drawn_anew():
    unet = dataclasses.replace(BASE.config.unet, num_classes=3)
    model = _with_classes(unet)
    made = lambda classes: cd.clip_guided(model, CLIP, "a face", key=0, classes=classes, **FEW)
    first, second, random = made(0), made(1), made("random")
    assert float(jnp.abs(first - second).max()) > 1e-4
    assert float(jnp.abs(random - first).max()) > 1e-4
    with pytest.raises(ValueError, match="has 3 classes"):
        made(None)


def test_what_cannot_be_asked_for_is_refused():
    with pytest.raises(ValueError, match="skip=4 of 4 steps leaves no step"):
        drawn(init=pictures(1), skip=4)
    for name, value in (("skip", 1), ("init_scale", 5.0)):
        with pytest.raises(ValueError, match=f"{name}={value:g} is of a start picture"):
            drawn(**{name: value})
    with pytest.raises(ValueError, match="scale=nan"):
        drawn(scale=float("nan"))
    for name, value in (("cutouts", 0), ("power", -1.0), ("clamp", 0.0), ("steps", 0)):
        with pytest.raises(ValueError, match=f"{name}="):
            Guiding(**{name: value})
    with pytest.raises(TypeError, match=r"no option 'cutuots'. Did you mean 'cutouts'"):
        drawn(cutuots=3)
    with pytest.raises(ValueError, match="takes no classes"):
        drawn(classes="random")
    with pytest.raises(ValueError, match="no prompts"):
        drawn([])
    with pytest.raises(ValueError, match="count=3, but init has 2 pictures"):
        drawn(init=pictures(2), count=3)


def test_a_gradient_that_is_not_finite_stops_the_walk():
    with pytest.raises(FloatingPointError, match=r"not finite at step 1 of 4.*lower scale"):
        drawn(scale=1e38, clamp=None, tv=1e38)


def _with_classes(unet):
    config = dataclasses.replace(BASE.config, unet=unet)
    return cd.Diffusion(config, random_params(functools.partial(init_params, config), 0))
