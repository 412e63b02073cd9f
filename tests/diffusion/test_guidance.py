import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import SCHEDULE

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.guidance import (
    classifier_free,
    clip_x0,
    dynamic_threshold,
    mix,
    strength,
)
from clipdiff_jax.diffusion.prediction import make_denoise, q_sample
from clipdiff_jax.diffusion.sampler import sample
from clipdiff_jax.diffusion.steps.ddim import ddim

X = jax.random.normal(jax.random.key(0), (3, 4, 4, 2))
T = jnp.array([10, 500, 900])


def constant(value, learned=False):
    def network(x, t, cond):
        eps = jnp.full_like(x, value)
        return jnp.concatenate([eps, jnp.zeros_like(x)], -1) if learned else eps

    return make_denoise(network, SCHEDULE, learned_variance=learned)


def assert_consistent(prediction, x=X, t=T):
    back = q_sample(SCHEDULE, prediction.x0, t, prediction.eps)
    np.testing.assert_allclose(back, x, atol=2e-5)


def test_mix_normalises_ratios_and_stays_consistent():
    out = mix([constant(1.0), constant(4.0)], [2.0, 1.0])(X, T, None)
    np.testing.assert_allclose(out.eps, 2.0, rtol=1e-6)
    assert_consistent(out)
    with pytest.raises(ValueError, match="2 denoisers"):
        mix([constant(1.0), constant(4.0)], [1.0])


def test_mix_ratios_may_depend_on_time():
    ratios = lambda t: jnp.where(t > 100, jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0]))
    model = mix([constant(1.0), constant(4.0)], ratios)
    assert float(model(X, jnp.array(500), None).eps.mean()) == 1
    assert float(model(X, jnp.array(50), None).eps.mean()) == 4


@pytest.mark.parametrize("g", [0.0, 0.25, 1.0, 1.5])
def test_strength_runs_from_base_to_edited_and_beyond(g):
    out = strength(constant(1.0), constant(3.0), g)(X, T, None)
    np.testing.assert_allclose(out.eps, 1 + 2 * g, rtol=1e-6)
    assert_consistent(out)


def test_strength_per_picture():
    out = strength(constant(1.0), constant(3.0), jnp.array([0.0, 0.5, 1.0]))(X, T, None)
    np.testing.assert_allclose(out.eps.mean(axis=(1, 2, 3)), [1, 2, 3], rtol=1e-6)


def test_classifier_free_extrapolates_from_null_to_condition():
    def network(x, t, cond):
        eps = cond["y"][:, None, None, None] * jnp.ones_like(x)
        return jnp.concatenate([eps, eps], -1)

    denoise = make_denoise(network, SCHEDULE, learned_variance=True)
    cond, null = {"y": jnp.array([1.0, 2.0, 3.0])}, {"y": jnp.zeros(3)}
    out = classifier_free(denoise, null, 2.0)(X, jnp.array(500), cond)
    np.testing.assert_allclose(out.eps.mean(axis=(1, 2, 3)), [2, 4, 6], rtol=1e-6)
    assert_consistent(out, t=jnp.full(3, 500))
    mean = out.log_variance_mix.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(mean, [1, 1.5, 2], rtol=1e-6)


def test_clip_x0_bounds_the_guess_and_keeps_the_variance():
    out = clip_x0(constant(0.0, learned=True), SCHEDULE)(X * 3, T, None)
    assert float(jnp.abs(out.x0).max()) == 1
    assert out.log_variance_mix is not None
    assert_consistent(out, X * 3)


def test_dynamic_threshold_scales_each_picture_by_its_own_percentile():
    x = jnp.stack([X[0] * 0.1, X[1] * 5, X[2] * 5])
    t = jnp.array([0, 0, 0])
    raw = constant(0.0)(x, t, None).x0
    out = dynamic_threshold(constant(0.0), SCHEDULE, 90.0)(x, t, None)
    np.testing.assert_allclose(out.x0[0], raw[0], atol=1e-6)
    limit = np.percentile(np.abs(raw[1]), 90)
    np.testing.assert_allclose(out.x0[1], np.clip(raw[1], -limit, limit) / limit, atol=1e-5)
    assert_consistent(out, x, t)


def test_turning_any_scalar_compiles_nothing_new():
    def network(params, x):
        return params["w"] * x

    @jax.jit
    def run(base, edited, times, eta, g, ratios, scale, key):
        one = make_denoise(lambda x, t, c: network(base, x) + c[:, None], SCHEDULE)
        two = make_denoise(lambda x, t, c: network(edited, x) + c[:, None], SCHEDULE)
        model = mix([strength(one, two, g), two], ratios)
        model = classifier_free(model, jnp.zeros(2), scale)
        x = jax.random.normal(key, (2, 3))
        return sample(model, ddim(SCHEDULE, eta), times, x, jnp.ones(2), key)

    base, edited = {"w": jnp.array(0.1)}, {"w": jnp.array(0.2)}
    results = set()
    for eta, g, ratio, scale, seed, t0 in (
        (0.0, 1.0, 0.5, 1.0, 0, 400),
        (0.5, 1.0, 0.5, 1.0, 0, 400),
        (0.5, 0.3, 0.5, 1.0, 0, 400),
        (0.5, 0.3, 0.9, 1.0, 0, 400),
        (0.5, 0.3, 0.9, 4.0, 0, 400),
        (0.5, 0.3, 0.9, 4.0, 1, 400),
        (0.5, 0.3, 0.9, 4.0, 1, 601),
    ):
        scalars = (jnp.float32(eta), jnp.float32(g), jnp.array([ratio, 1 - ratio]))
        out = run(base, edited, ddim_grid(t0, 5), *scalars, jnp.float32(scale),
                  jax.random.key(seed))  # fmt: skip
        results.add(float(out.sum()))
    assert run._cache_size() == 1
    assert len(results) == 7


def test_full_strength_does_not_evaluate_the_base():
    calls = []

    def network(x, t, cond):
        jax.debug.callback(lambda: calls.append(1))
        return x

    base = make_denoise(network, SCHEDULE)
    run = jax.jit(lambda g: strength(base, constant(3.0), g)(X, T, None).eps)
    for g in (jnp.float32(1.0), jnp.ones(3), jnp.float32(0.5), jnp.array([1.0, 1.0, 0.5])):
        before = len(calls)
        run(g).block_until_ready()
        jax.effects_barrier()
        assert (len(calls) > before) == bool(jnp.any(g != 1))
