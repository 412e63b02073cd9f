import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.gaussian import MEAN, SCHEDULE, STD, ideal_network, moments, posterior_std, table

from clipdiff_jax.diffusion.grids import ddim_grid, even_grid, glide_grid, section_grid, step_grid
from clipdiff_jax.diffusion.prediction import Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import sample, sample_traced
from clipdiff_jax.diffusion.steps.ancestral import ancestral, learned_log_variance, posterior_mean
from clipdiff_jax.diffusion.steps.ddim import ddim


def drawn(step, times, target, count=40_000):
    """Samples of the ideal denoiser, started from the true marginal at times[0]."""
    alpha, sigma = table()
    spread = np.sqrt((alpha(times[0]) * STD) ** 2 + sigma(times[0]) ** 2)
    start, walk = jax.random.split(jax.random.key(0))
    x = alpha(times[0]) * MEAN + spread * jax.random.normal(start, (count, 1))
    denoise = make_denoise(ideal_network(target), SCHEDULE, target)
    return sample(denoise, step, times, x, None, walk)


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_on_gaussian_data_has_the_closed_form_moments(eta, target):
    times = even_grid(1000, 40)
    x = drawn(ddim(SCHEDULE, eta), times, target)
    mean, variance = moments(list(times), lambda t, s: eta * posterior_std(t, s))
    assert float(x.mean()) == pytest.approx(mean, abs=4 * STD / 200)
    assert float(x.var()) == pytest.approx(variance, rel=4 * np.sqrt(2) / 200)
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert variance == pytest.approx(STD**2, rel=0.3)  # so few steps lose variance


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
def test_ancestral_on_gaussian_data_reaches_its_mean_and_variance(target):
    times = even_grid(1000, 250)
    x = drawn(ancestral(SCHEDULE, "small"), times, target)
    mean, variance = moments(list(times), posterior_std)  # DDIM with eta 1 is the same process
    assert float(x.mean()) == pytest.approx(mean, abs=4 * STD / 200)
    assert float(x.var()) == pytest.approx(variance, rel=4 * np.sqrt(2) / 200)
    assert variance == pytest.approx(STD**2, rel=0.08)


def test_ddim_steps_multiply_to_the_closed_form_map_and_tend_to_the_ode():
    """A Gaussian's DDIM map is affine; with all 1000 steps it is the ODE's, a pure rescaling."""
    alpha, sigma = table()
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    x = jnp.linspace(-3, 3, 7)[:, None]
    for steps, tolerance in ((20, None), (1000, 5e-3)):
        times = even_grid(1000, steps)
        out = np.asarray(sample(denoise, ddim(SCHEDULE), times, x, None, None))
        slope = 1.0
        for t, s in itertools.pairwise(times):
            total = alpha(t) ** 2 * STD**2 + sigma(t) ** 2
            slope *= (alpha(s) * alpha(t) * STD**2 + sigma(s) * sigma(t)) / total
        expected = MEAN + slope * (np.asarray(x) - alpha(999) * MEAN)
        np.testing.assert_allclose(out, expected, atol=2e-5)
        if tolerance:
            ode = STD / np.sqrt((alpha(999) * STD) ** 2 + sigma(999) ** 2)
            assert slope == pytest.approx(ode, rel=tolerance)


def test_large_variance_and_no_noise_on_the_last_step():
    x, x0 = jnp.full((1, 1), 0.7), jnp.full((1, 1), 0.2)
    prediction = Prediction(x0, x0)
    t, s = jnp.array(500), jnp.array(400)
    mean = posterior_mean(SCHEDULE, x, x0, t, s)
    alpha, _ = table()
    step = ancestral(SCHEDULE, "large")
    moved = step(x, prediction, t, s, jnp.ones((1, 1)))
    beta = 1 - alpha(500) ** 2 / alpha(400) ** 2
    assert float((moved - mean)[0, 0]) == pytest.approx(np.sqrt(beta), rel=1e-4)
    end = step(x, prediction, jnp.array(3), jnp.array(-1), jnp.full((1, 1), 9.0))
    np.testing.assert_allclose(end, x0, atol=1e-6)


def test_learned_variance_interpolates_in_log_between_beta_tilde_and_beta():
    alpha, sigma = table()
    for t, s in ((500, 499), (500, 300), (1, 0)):
        beta = 1 - alpha(t) ** 2 / alpha(s) ** 2
        tilde = beta * sigma(s) ** 2 / sigma(t) ** 2
        for mix in (0.0, 0.25, 1.0):
            expected = mix * np.log(beta) + (1 - mix) * np.log(tilde)
            value = learned_log_variance(SCHEDULE, jnp.array(t), jnp.array(s), jnp.array(mix))
            assert float(value) == pytest.approx(expected, abs=2e-3)
    x = jnp.zeros((1, 1))
    prediction = Prediction(x, x, jnp.full((1, 1), 0.25))
    times = jnp.array(500), jnp.array(300)
    moved = ancestral(SCHEDULE, "learned")(x, prediction, *times, jnp.ones((1, 1)))
    log_variance = learned_log_variance(SCHEDULE, *times, jnp.array(0.25))
    assert float(moved[0, 0]) == pytest.approx(float(jnp.exp(log_variance / 2)), rel=1e-5)


@pytest.mark.parametrize(("t0", "steps"), [(400, 6), (401, 40), (601, 40), (999, 200), (500, 2)])
def test_ddim_grid_is_the_published_one(t0, steps):
    seq = [int(s) for s in np.linspace(0, 1, steps) * t0]
    following = [-1, *seq[:-1]]
    grid = ddim_grid(t0, steps)
    assert grid.dtype == np.int32
    assert list(itertools.pairwise(grid)) == list(reversed(list(zip(seq, following, strict=True))))
    assert grid[0] == t0


def test_even_grids():
    assert list(even_grid(1000, 4)) == [999, 749, 499, 249, -1]
    assert list(even_grid(1000, 4, "leading")) == [750, 500, 250, 0, -1]
    assert list(even_grid(1000, 4, "linspace")) == [999, 666, 333, 0, -1]
    assert list(even_grid(5, 5)) == [4, 3, 2, 1, 0, -1]


def test_glides_fast_grid_is_that_of_its_release():
    published = [
        0, 22, 44, 66, 88, 111, 133, 155, 177, 199,
        200, 222, 244, 266, 288, 311, 333, 355, 377, 399,
        400, 500, 599, 600, 799, 800, 997,
    ]  # fmt: skip
    assert list(glide_grid()) == [*reversed(published), -1]


def test_sections_have_the_asked_number_of_times():
    assert list(section_grid(10, (5, 2))) == [9, 5, 4, 3, 2, 1, 0, -1]
    assert list(section_grid(11, (2, 1))) == [6, 5, 0, -1]  # the first section is one longer
    assert list(section_grid(1000, (10,))) == list(even_grid(1000, 10, "linspace"))


def test_steps_name_their_grid():
    assert list(step_grid(1000, 4)) == list(even_grid(1000, 4, "linspace"))
    assert list(step_grid(10, [5, 2])) == list(section_grid(10, (5, 2)))
    assert list(step_grid(1000, "glide")) == list(glide_grid(1000))


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match=r"1 to 5 steps, got 6 in \(6, 2\)"):
        section_grid(10, (6, 2))
    with pytest.raises(ValueError, match="at least 2 steps"):
        ddim_grid(400, 1)
    with pytest.raises(ValueError, match="t0 >= 39"):
        ddim_grid(20, 40)
    with pytest.raises(ValueError, match="between 1 and 1000"):
        even_grid(1000, 1001)


def noisy_network(params, x, t):
    return jnp.tanh(params["w"] * x + params["b"] * t[:, None] / 1000)


def test_remat_gives_the_same_gradients():
    params = {"w": jnp.array(0.3), "b": jnp.array(-0.2)}
    x = jax.random.normal(jax.random.key(1), (3, 4))

    def loss(params, remat):
        denoise = make_denoise(lambda x, t, c: noisy_network(params, x, t), SCHEDULE)
        step, times = ddim(SCHEDULE, 0.5), ddim_grid(400, 6)
        out = sample(denoise, step, times, x, None, jax.random.key(2), remat=remat)
        return jnp.mean(out**2)

    plain, again = (jax.grad(loss)(params, remat) for remat in (False, True))
    for name in params:
        assert float(plain[name]) != 0
        np.testing.assert_allclose(again[name], plain[name], rtol=1e-6)


def test_with_remat_memory_grows_by_the_latents_only():
    batch, width, hidden = 64, 16, 512
    x = jax.random.normal(jax.random.key(2), (batch, width))
    params = {"up": jnp.ones((width, hidden)) / 64, "down": jnp.ones((hidden, width)) / 64}

    def temporaries(steps, remat):
        def loss(params, x):
            def denoise(x, t, cond):
                h = jnp.tanh(x @ params["up"])  # what has to be kept, or computed again
                for _ in range(3):
                    h = jnp.sin(h + 0.01 * t)
                return Prediction(h @ params["down"], x, None)

            out = sample(denoise, ddim(SCHEDULE), ddim_grid(500, steps), x, remat=remat)
            return jnp.mean(out**2)

        program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(params, x).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporaries(12, True) - temporaries(4, True) <= 8 * 1.5 * x.nbytes
    assert temporaries(12, False) - temporaries(4, False) > 8 * batch * hidden * 4


def test_trace_ends_at_the_result_and_noise_replaces_the_key():
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    x, times = jnp.ones((2, 3)), ddim_grid(400, 5)
    noise = jax.random.normal(jax.random.key(0), (5, 2, 3))
    step = ddim(SCHEDULE, 1.0)
    out, trace = sample_traced(denoise, step, times, x, None, noise)
    np.testing.assert_array_equal(trace.x[-1], out)
    assert trace.x0.shape == (5, 2, 3)
    by_hand = x
    for i in range(5):
        t, s = jnp.array(times[i]), jnp.array(times[i + 1])
        by_hand = step(by_hand, denoise(by_hand, t, None), t, s, noise[i])
    np.testing.assert_allclose(out, by_hand, atol=1e-5)
    with pytest.raises(ValueError, match="noise must be"):
        sample(denoise, step, times, x, None, noise[1:])


def test_a_key_per_picture_makes_its_noise_independent_of_the_batch():
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    keys = jax.random.split(jax.random.key(3), 4)
    x = jax.random.normal(jax.random.key(0), (4, 2))
    run = lambda x, keys: sample(denoise, ddim(SCHEDULE, 1.0), ddim_grid(400, 5), x, None, keys)
    np.testing.assert_allclose(run(x, keys)[1:3], run(x[1:3], keys[1:3]), atol=1e-6)


def test_stochastic_steps_ask_for_a_key():
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    for step in (ddim(SCHEDULE, 0.5), ancestral(SCHEDULE)):
        with pytest.raises(ValueError, match="key"):
            sample(denoise, step, ddim_grid(400, 5), jnp.ones((1, 1)), None, None)


@pytest.mark.parity
def test_steps_match_diffusers():
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    rng = np.random.default_rng(0)
    x, eps = (rng.standard_normal((2, 4, 4, 3)).astype(np.float32) for _ in range(2))
    settings = dict(num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, clip_sample=False)
    theirs = diffusers.DDIMScheduler(**settings, set_alpha_to_one=True)
    theirs.set_timesteps(25)
    grid = even_grid(1000, 25, "leading")
    assert list(theirs.timesteps.numpy()) == list(grid[:-1])
    denoise = make_denoise(lambda *_: jnp.asarray(eps), SCHEDULE)
    z = rng.standard_normal(x.shape).astype(np.float32)
    for eta in (0.0, 0.7):
        for t, s in ((960, 920), (40, 0), (0, -1)):
            expected = theirs.step(
                torch.tensor(eps), t, torch.tensor(x), eta=eta, variance_noise=torch.tensor(z)
            ).prev_sample
            now, after = jnp.array(t), jnp.array(s)
            prediction = denoise(jnp.asarray(x), now, None)
            out = ddim(SCHEDULE, eta)(jnp.asarray(x), prediction, now, after, jnp.asarray(z))
            np.testing.assert_allclose(out, expected.numpy(), rtol=2e-4, atol=2e-4)


@pytest.mark.parity
@pytest.mark.parametrize("variance", ["small", "large"])
def test_ancestral_matches_diffusers(variance, monkeypatch):
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    rng = np.random.default_rng(0)
    x, eps, z = (rng.standard_normal((2, 4, 4, 3)).astype(np.float32) for _ in range(3))
    theirs = diffusers.DDPMScheduler(
        num_train_timesteps=1000, beta_start=1e-4, beta_end=0.02, clip_sample=False,
        variance_type=f"fixed_{variance}",
    )  # fmt: skip
    module = diffusers.schedulers.scheduling_ddpm
    monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: torch.tensor(z))
    denoise = make_denoise(lambda *_: jnp.asarray(eps), SCHEDULE)
    for steps in (1000, 25):
        theirs.set_timesteps(steps)
        stride = 1000 // steps
        for t in (920, 40):
            expected = theirs.step(torch.tensor(eps), t, torch.tensor(x)).prev_sample
            now, after = jnp.array(t), jnp.array(t - stride)
            prediction = denoise(jnp.asarray(x), now, None)
            step = ancestral(SCHEDULE, variance)
            out = step(jnp.asarray(x), prediction, now, after, jnp.asarray(z))
            np.testing.assert_allclose(out, expected.numpy(), rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("rule", [ddim(SCHEDULE, 0.7), ancestral(SCHEDULE), ddim(SCHEDULE)])
def test_a_step_may_have_one_time_per_picture(rule):
    denoise = make_denoise(ideal_network("eps"), SCHEDULE)
    x, z = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 1))
    t, s = jnp.array([500, 80, 3]), jnp.array([400, 0, -1])
    together = rule(x, denoise(x, t, None), t, s, z)
    for i in range(3):
        one = slice(i, i + 1)
        alone = rule(x[one], denoise(x[one], t[i], None), t[i], s[i], z[one])
        np.testing.assert_allclose(together[one], alone, rtol=1e-5, atol=1e-6)
