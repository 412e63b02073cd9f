import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.schedule import (
    DiscreteSchedule,
    posterior_variance,
    transition_variance,
)


def test_linear_betas_and_their_product():
    schedule = DiscreteSchedule()
    beta = np.linspace(1e-4, 0.02, 1000)
    t = jnp.arange(1000)
    np.testing.assert_allclose(schedule.beta(t), beta, rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_bar(t), np.cumprod(1 - beta), rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha(t) ** 2, np.cumprod(1 - beta), rtol=1e-6)
    np.testing.assert_allclose(schedule.sigma(t) ** 2, 1 - np.cumprod(1 - beta), rtol=1e-6)


def test_scaled_linear_betas_have_linear_square_roots():
    schedule = DiscreteSchedule("scaled_linear", 1000, 0.00085, 0.012)
    beta = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    t = jnp.arange(1000)
    np.testing.assert_allclose(schedule.beta(t), beta, rtol=1e-6)
    np.testing.assert_allclose(schedule.alpha_bar(t), np.cumprod(1 - beta), rtol=1e-6)
    # The published end: Stable Diffusion's last alpha_bar.
    assert float(schedule.alpha_bar(jnp.array(999))) == pytest.approx(0.0046600, abs=1e-6)
    with pytest.raises(ValueError, match="scaled_linear schedule needs 0 < beta_start"):
        DiscreteSchedule("scaled_linear", 1000, 0.02, 0.01)


def test_time_minus_one_is_the_clean_image():
    schedule = DiscreteSchedule()
    t = jnp.array(-1)
    assert schedule.alpha_bar(t) == 1
    assert schedule.alpha(t) == 1
    assert schedule.sigma(t) == 0
    assert schedule.beta(t) == 0
    assert np.isposinf(schedule.logsnr(t))


def test_values_are_float32_and_keep_the_shape_of_t():
    schedule = DiscreteSchedule("squared_cosine", num_steps=50)
    for t in (jnp.array(3), jnp.array([0, 49]), jnp.array([[1], [2]])):
        for value in (schedule.alpha(t), schedule.sigma(t), schedule.logsnr(t)):
            assert value.dtype == jnp.float32
            assert value.shape == t.shape


def test_logsnr_is_log_of_alpha_squared_over_sigma_squared():
    schedule = DiscreteSchedule("squared_cosine")
    t = jnp.arange(999)
    expected = 2 * np.log(np.float64(schedule.alpha(t)) / np.float64(schedule.sigma(t)))
    np.testing.assert_allclose(schedule.logsnr(t), expected, atol=1e-5)


def test_squared_cosine_follows_its_formula_until_the_cap():
    schedule = DiscreteSchedule("squared_cosine", num_steps=1000)
    level = lambda u: np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2
    t = np.arange(0, 990)
    expected = level((t + 1) / 1000) / level(0.0)
    np.testing.assert_allclose(schedule.alpha_bar(jnp.asarray(t)), expected, rtol=1e-5)
    assert float(schedule.beta(jnp.array(999))) == pytest.approx(0.999)


def test_strided_variances_match_float64():
    schedule = DiscreteSchedule()
    abar = np.concatenate([np.cumprod(1 - np.linspace(1e-4, 0.02, 1000)), [1.0]])
    t, s = np.array([0, 1, 2, 500, 999, 999]), np.array([-1, 0, 1, 499, 998, 3])
    beta = 1 - abar[t] / abar[s]
    tilde = beta * (1 - abar[s]) / (1 - abar[t])
    times = jnp.asarray(t), jnp.asarray(s)
    np.testing.assert_allclose(transition_variance(schedule, *times), beta, rtol=2e-4)
    np.testing.assert_allclose(posterior_variance(schedule, *times), tilde, rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_steps": 0}, "num_steps"),
        ({"betas": "cosine"}, "squared_cosine"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "beta_start"),
    ],
)
def test_impossible_schedules_are_refused(change, message):
    with pytest.raises(Exception, match=message):
        DiscreteSchedule(**change)
