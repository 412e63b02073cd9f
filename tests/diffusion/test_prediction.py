import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.prediction import make_denoise, q_sample, split_variance, to_target
from clipdiff_jax.diffusion.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule()


@pytest.mark.parametrize("target", ["eps", "x0", "v"])
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
