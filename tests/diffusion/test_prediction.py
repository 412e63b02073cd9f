import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.prediction import (
    Preconditioned,
    from_v,
    make_denoise,
    q_sample,
    split_variance,
    to_target,
)
from clipdiff_jax.diffusion.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule()


@pytest.mark.parametrize("target", ["eps", "x0", "v", Preconditioned(0.1)])
@pytest.mark.parametrize("time", [0, 400, 999])
def test_a_perfect_output_gives_back_x0_and_eps(target, time):
    x0, eps = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
    t = jnp.full((3,), time)
    x_t = q_sample(SCHEDULE, x0, t, eps)
    output = to_target(target, SCHEDULE, t, x0, eps)
    prediction = make_denoise(lambda *_: output, SCHEDULE, target)(x_t, t, None)
    scale = 1e-6 * max(1, float(SCHEDULE.sigma(t)[0] / SCHEDULE.alpha(t)[0]))
    np.testing.assert_allclose(prediction.x0, x0, atol=5 * scale)
    np.testing.assert_allclose(
        prediction.eps, eps, atol=5e-6 * max(1, float(1 / SCHEDULE.sigma(t)[0]))
    )


def test_preconditioned_lies_between_x0_and_v():
    """F is -v at s = 1 and x0 as s goes to 0 (Karras et al. 2022, table 1, times s)."""
    x0, eps = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
    t = jnp.array([10, 400, 990])
    v = to_target("v", SCHEDULE, t, x0, eps)
    np.testing.assert_allclose(
        to_target(Preconditioned(1.0), SCHEDULE, t, x0, eps), -v, rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(to_target(Preconditioned(1e-4), SCHEDULE, t, x0, eps), x0, atol=1e-4)
    x_t = q_sample(SCHEDULE, x0, t, eps)
    ours = make_denoise(lambda *_: -v, SCHEDULE, Preconditioned(1.0))(x_t, t, None)
    theirs = from_v(SCHEDULE, x_t, t, v)
    np.testing.assert_allclose(ours.x0, theirs.x0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.eps, theirs.eps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("time", [0, 3, 40, 400])
def test_errors_of_a_preconditioned_network_stay_bounded_near_the_clean_image(time):
    """An error d of F is d sigma / n of x0 and d alpha / n <= d / s of eps, where that of a network
    of x0 would be d alpha / sigma: 100 d at t = 0."""
    x0, eps = jax.random.normal(jax.random.key(0), (2, 3, 4, 4, 2))
    t, s = jnp.full((3,), time), 0.1
    output = to_target(Preconditioned(s), SCHEDULE, t, x0, eps) + 0.01
    denoise = make_denoise(lambda *_: output, SCHEDULE, Preconditioned(s))
    prediction = denoise(q_sample(SCHEDULE, x0, t, eps), t, None)
    alpha, sigma = float(SCHEDULE.alpha(t)[0]), float(SCHEDULE.sigma(t)[0])
    norm = np.hypot(alpha * s, sigma)
    np.testing.assert_allclose(prediction.x0 - x0, 0.01 * sigma / norm, atol=2e-5)
    np.testing.assert_allclose(prediction.eps - eps, -0.01 * alpha / norm, atol=2e-4)


def test_a_data_std_of_zero_is_refused():
    with pytest.raises(ValueError, match=r"data_std must be positive, got 0\.0"):
        Preconditioned(0.0)


def test_the_network_sees_one_int32_time_per_picture_and_float32_comes_out():
    seen = {}

    def network(x, t, cond):
        seen.update(t=t, cond=cond)
        return x.astype(jnp.bfloat16)

    out = make_denoise(network, SCHEDULE)(jnp.ones((5, 2, 2, 1)), jnp.array(7), "condition")
    assert seen["t"].shape == (5,)
    assert seen["t"].dtype == jnp.int32
    assert seen["cond"] == "condition"
    assert out.x0.dtype == out.eps.dtype == jnp.float32
    assert out.log_variance_mix is None


def test_clipping_x0_keeps_the_pair_consistent():
    x = jax.random.normal(jax.random.key(0), (4, 3, 3, 1)) * 3
    t = jnp.full((4,), 500)
    out = make_denoise(lambda x, t, c: 0 * x, SCHEDULE, clip=1.0)(x, t, None)
    assert float(jnp.abs(out.x0).max()) == 1
    np.testing.assert_allclose(q_sample(SCHEDULE, out.x0, t, out.eps), x, atol=1e-5)


def test_learned_variance_is_split_off_and_mapped_to_a_mix():
    output = jnp.concatenate([jnp.ones((1, 2, 2, 3)), jnp.full((1, 2, 2, 3), -1.0)], -1)
    mean, mix = split_variance(output, 3, True)
    assert float(mean.min()) == 1
    assert float(mix.max()) == 0
    with pytest.raises(ValueError, match="6 channels where 3"):
        split_variance(output, 3, False)


def test_unknown_target_is_refused():
    with pytest.raises(Exception, match="epsilon"):
        make_denoise(lambda x, t, c: x, SCHEDULE, prediction="epsilon")
