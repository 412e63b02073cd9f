import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import SCHEDULE, ideal_network, table

from clipdiff_jax.diffusion.losses import (
    NoiseLoss,
    discrete_log_likelihood,
    gaussian_kl,
    loss_weight,
    q_sample,
    vlb_terms,
)
from clipdiff_jax.diffusion.prediction import Preconditioned, Prediction, to_target

KEYS = jax.random.split(jax.random.key(0), 2)
X0 = 0.5 * jax.random.normal(KEYS[0], (5, 2, 2, 3))
EPS = jax.random.normal(KEYS[1], X0.shape)
T = jnp.array([0, 1, 200, 700, 999])


@pytest.mark.parametrize("target", ["eps", "x0", "v", Preconditioned(0.1)])
def test_noise_loss_is_the_mean_square_on_the_networks_own_target(target):
    truth = to_target(target, SCHEDULE, T, X0, EPS)
    loss, metrics = NoiseLoss(SCHEDULE, target)(lambda *_: truth + 0.3, X0, T, EPS)
    assert float(loss) == pytest.approx(0.09, rel=1e-4)
    assert float(metrics["mse"]) == pytest.approx(0.09, rel=1e-4)


def test_the_network_is_shown_x_t():
    seen = []
    NoiseLoss(SCHEDULE)(lambda x, t, c: seen.append((x, t, c)) or x, X0, T, EPS, "cond")
    x, t, cond = seen[0]
    alpha, sigma = table()
    for i, time in enumerate([0, 1, 200, 700, 999]):
        np.testing.assert_allclose(x[i], alpha(time) * X0[i] + sigma(time) * EPS[i], rtol=1e-5)
    assert cond == "cond"
    np.testing.assert_array_equal(t, T)


@pytest.mark.parametrize("target", ["eps", "x0", "v", Preconditioned(0.1)])
def test_weights_count_x0_errors_alike_whatever_the_target(target):
    """An error d of x0 is an error d alpha / sigma of eps, d / sigma of v and d n / sigma of F."""
    alpha, sigma = np.asarray(SCHEDULE.alpha(T)), np.asarray(SCHEDULE.sigma(T))
    sizes = {"x0": np.ones(5), "eps": alpha / sigma, "v": 1 / sigma}
    sizes[Preconditioned(0.1)] = np.hypot(0.1 * alpha, sigma) / sigma
    size = sizes[target]
    clipped = np.minimum((alpha / sigma) ** 2, 5.0)
    weight = loss_weight("min_snr", target, SCHEDULE, T)
    np.testing.assert_allclose(weight * size**2, clipped, rtol=1e-4)
    weight = loss_weight("v", target, SCHEDULE, T)
    np.testing.assert_allclose(weight * size**2, 1 / sigma**2, rtol=1e-4)
    np.testing.assert_array_equal(loss_weight("uniform", target, SCHEDULE, T), np.ones(5))


def test_ideal_denoiser_has_the_bayes_error():
    """For N(0.3, 0.16) data, Var(x0 | x_t) = s^2 sigma^2 / (alpha^2 s^2 + sigma^2)."""
    keys = jax.random.split(jax.random.key(5), 2)
    x0 = 0.3 + 0.4 * jax.random.normal(keys[0], (20_000, 1))
    t = jnp.full(20_000, 300)
    eps = jax.random.normal(keys[1], x0.shape)
    _, metrics = NoiseLoss(SCHEDULE, "x0")(ideal_network("x0"), x0, t, eps)
    alpha, sigma = table()
    expected = 0.16 * sigma(300) ** 2 / (alpha(300) ** 2 * 0.16 + sigma(300) ** 2)
    assert float(metrics["mse"]) == pytest.approx(expected, rel=0.04)


def test_kl_matches_numerical_integration():
    x = np.linspace(-12, 12, 200_001)
    normal = lambda m, s: np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    for m_q, s_q, m_p, s_p in ((0.0, 1.0, 0.5, 1.3), (1.0, 0.4, 0.8, 0.6)):
        q, p = normal(m_q, s_q), normal(m_p, s_p)
        with np.errstate(invalid="ignore", divide="ignore"):
            integrand = np.where(q > 1e-300, q * (np.log(q) - np.log(p)), 0)
        expected = np.trapezoid(integrand, x)
        args = (m_q, 2 * np.log(s_q), m_p, 2 * np.log(s_p))
        assert float(gaussian_kl(*map(jnp.float32, args))) == pytest.approx(expected, abs=1e-5)


def test_vlb_matches_a_numerically_integrated_kl_between_the_two_posteriors():
    alpha, sigma = table()
    t, mix, x0, guess, x_t = 400, 0.3, 0.5, 0.2, 0.7
    beta = 1 - alpha(t) ** 2 / alpha(t - 1) ** 2
    tilde = beta * sigma(t - 1) ** 2 / sigma(t) ** 2
    q_mean, p_mean = (
        (alpha(t - 1) * beta * clean + np.sqrt(1 - beta) * sigma(t - 1) ** 2 * x_t) / sigma(t) ** 2
        for clean in (x0, guess)
    )
    variance = np.exp(mix * np.log(beta) + (1 - mix) * np.log(tilde))
    x = q_mean + np.linspace(-10, 10, 100_001) * np.sqrt(tilde)
    log_q = -0.5 * (x - q_mean) ** 2 / tilde - 0.5 * np.log(2 * np.pi * tilde)
    log_p = -0.5 * (x - p_mean) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    expected = np.trapezoid(np.exp(log_q) * (log_q - log_p), x) / np.log(2)
    full = lambda value: jnp.full((1, 2, 2, 1), value, jnp.float32)
    prediction = Prediction(full(guess), full(0.0), full(mix))
    terms = vlb_terms(SCHEDULE, prediction, full(x0), full(x_t), jnp.array([t]))
    assert float(terms[0]) == pytest.approx(expected, rel=2e-3)


def test_vlb_at_time_zero_is_the_discrete_likelihood():
    full = lambda value: jnp.full((1, 2, 2, 1), value, jnp.float32)
    prediction = Prediction(full(0.1), full(0.0), full(1.0))
    terms = vlb_terms(SCHEDULE, prediction, full(0.1), full(0.1), jnp.array([0]))
    log_std = 0.5 * jnp.log(SCHEDULE.beta(jnp.array([0])))
    mean = 0.1  # step 0 -> -1 goes to x0 itself
    nats = -discrete_log_likelihood(jnp.array([0.1]), jnp.array([mean]), log_std)
    assert float(terms[0]) == pytest.approx(float(nats[0]) / np.log(2), rel=1e-3)


def test_discrete_likelihood_sums_to_one_over_the_grey_levels():
    levels = jnp.linspace(-1, 1, 256)
    for mean, std in ((0.2, 0.05), (-0.98, 0.3), (0.0, 0.01)):
        log_mass = discrete_log_likelihood(
            levels, jnp.full(256, mean), jnp.full(256, np.log(std), jnp.float32)
        )
        assert float(jnp.exp(log_mass).sum()) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_learned_variance_adds_the_bound_and_does_not_move_the_mean():
    def network(x, t, cond, shift=0.0):
        return jnp.concatenate([x * 0.5 + shift, x * 0.1], -1)

    def loss(shift, learned):
        apply = lambda x, t, c: network(x, t, c, shift)
        if not learned:
            return NoiseLoss(SCHEDULE)(lambda *a: apply(*a)[..., :3], X0, T, EPS)[0]
        return NoiseLoss(SCHEDULE, learned_variance=True)(apply, X0, T, EPS)[0]

    simple, hybrid = loss(0.0, False), loss(0.0, True)
    _, metrics = NoiseLoss(SCHEDULE, learned_variance=True)(network, X0, T, EPS)
    assert float(hybrid - simple) == pytest.approx(float(metrics["vlb"]), rel=1e-4)
    assert jax.grad(loss)(0.0, True) == pytest.approx(float(jax.grad(loss)(0.0, False)), rel=1e-5)


def test_q_sample_takes_a_shared_time():
    np.testing.assert_allclose(
        q_sample(SCHEDULE, X0, jnp.array(200), EPS)[2], q_sample(SCHEDULE, X0, T, EPS)[2]
    )
