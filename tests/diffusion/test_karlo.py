"""Karlo's step: the numbers of diffusers' scheduler, and the equations it rounds."""

import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.diffusion.grids import even_grid
from clipdiff_jax.diffusion.guidance import clip_x0
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Prediction, make_denoise
from clipdiff_jax.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from clipdiff_jax.diffusion.steps.ancestral import ancestral
from clipdiff_jax.diffusion.steps.karlo import karlo_step

SCHEDULE = KarloSchedule()
EXACT = DiscreteSchedule("squared_cosine")
SHAPE = (2, 4, 4, 3)


def test_times_are_those_of_the_release():
    assert even_grid(1000, 7, "linspace").tolist() == [999, 832, 666, 500, 333, 166, 0, -1]


def test_the_schedule_is_the_exact_one_up_to_rounding():
    assert isinstance(SCHEDULE, NoiseSchedule)
    t = jnp.arange(1000)
    np.testing.assert_allclose(SCHEDULE.alpha(t), EXACT.alpha(t), rtol=2e-5)
    np.testing.assert_allclose(SCHEDULE.sigma(t), EXACT.sigma(t), rtol=5e-4)
    np.testing.assert_allclose(SCHEDULE.logsnr(t[:-1]), EXACT.logsnr(t[:-1]), atol=2e-3)
    assert float(SCHEDULE.alpha_bar(jnp.int32(-1))) == 1.0
    np.testing.assert_array_equal(SCHEDULE.beta(t), EXACT.beta(t))


@pytest.mark.parametrize("variance", ["small", "learned"])
@pytest.mark.parametrize(("t", "t_next"), [(999, 666), (500, 499), (3, 0), (0, -1)])
def test_the_step_is_ancestral_up_to_rounding(variance, t, t_next):
    rng = np.random.default_rng(0)
    x, x0, z = jnp.asarray(rng.normal(size=(3, *SHAPE)), jnp.float32)
    mix = jnp.asarray(rng.uniform(size=SHAPE), jnp.float32)
    prediction = Prediction(x0, x, mix)
    times = jnp.int32(t), jnp.int32(t_next)
    ours = karlo_step(SCHEDULE, variance)(x, prediction, *times, z)
    exact = ancestral(EXACT, variance)(x, prediction, *times, z)
    np.testing.assert_allclose(ours, exact, atol=3e-3)
    without = karlo_step(SCHEDULE, variance)(x, prediction, *times, 0 * z)
    assert bool(jnp.all(ours == without)) == (t_next < 0)


@pytest.mark.parametrize(("prediction", "noise", "message"), [
    (Prediction(jnp.ones(SHAPE), jnp.ones(SHAPE)), None, "give sample"),
    (Prediction(jnp.ones(SHAPE), jnp.ones(SHAPE)), jnp.ones(SHAPE), "learned its variance"),
])  # fmt: skip
def test_what_a_step_lacks_is_named(prediction, noise, message):
    step = karlo_step(SCHEDULE, "learned")
    with pytest.raises(ValueError, match=message):
        step(jnp.ones(SHAPE), prediction, jnp.int32(500), jnp.int32(400), noise)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("target", "variance", "bound", "steps"),
    [("x0", "small", 5.0, 25), ("eps", "learned", 1.0, 25), ("eps", "small", 1.0, 7),
     ("eps", "learned", 1.0, 1000), ("x0", "small", 5.0, 2)],
)  # fmt: skip
def test_each_step_equals_diffusers(target, variance, bound, steps):
    torch = pytest.importorskip("torch")
    from diffusers.schedulers import scheduling_unclip as module

    names = {"x0": "sample", "eps": "epsilon", "small": "fixed_small_log",
             "learned": "learned_range"}  # fmt: skip
    theirs = module.UnCLIPScheduler(
        prediction_type=names[target], variance_type=names[variance], clip_sample_range=bound
    )
    theirs.set_timesteps(steps)
    grid = even_grid(1000, steps, "linspace")
    np.testing.assert_array_equal(grid[:-1], theirs.timesteps.numpy())
    rng = np.random.default_rng(1)
    for i in np.unique(np.linspace(0, steps - 1, 9).astype(int)):
        t, t_next = grid[i : i + 2]
        times = jnp.int32(t), jnp.int32(t_next)
        x0 = rng.uniform(-1, 1, size=SHAPE).astype(np.float32)
        eps, z = rng.normal(size=(2, *SHAPE)).astype(np.float32)
        x = float(EXACT.alpha(times[0])) * x0 + float(EXACT.sigma(times[0])) * eps
        output = x0 if target == "x0" else eps + rng.normal(size=SHAPE).astype(np.float32) / 8
        if variance == "learned":
            output = np.concatenate([output, rng.uniform(-1, 1, SHAPE)], -1).astype(np.float32)
        denoise = make_denoise(lambda *_, y=output: jnp.asarray(y), SCHEDULE, target,
                               variance == "learned")  # fmt: skip
        prediction = clip_x0(denoise, SCHEDULE, bound)(jnp.asarray(x), times[0], None)
        ours = karlo_step(SCHEDULE, variance)(jnp.asarray(x), prediction, *times, jnp.asarray(z))
        with pytest.MonkeyPatch.context() as patch:
            given = torch.tensor(z).permute(0, 3, 1, 2)
            patch.setattr(module, "randn_tensor", lambda *_, given=given, **__: given)
            previous = int(t_next) if t_next >= 0 else None
            stepped = theirs.step(
                torch.tensor(output).permute(0, 3, 1, 2), int(t),
                torch.tensor(x).permute(0, 3, 1, 2), previous,
            ).prev_sample  # fmt: skip
        expected = stepped.permute(0, 2, 3, 1).numpy()
        error = np.linalg.norm(ours - expected) / np.linalg.norm(expected)
        assert error < 1e-5, (t, t_next)


def test_every_number_of_steps_has_the_times_of_the_original():
    """`UnCLIPScheduler.set_timesteps` of diffusers, written out: ties are rounded as there."""
    for steps in range(2, 1001):
        ratio = (1000 - 1) / (steps - 1)
        wanted = (np.arange(0, steps) * ratio).round()[::-1].astype(np.int64)
        assert even_grid(1000, steps, "linspace")[:-1].tolist() == wanted.tolist(), steps
    assert even_grid(1000, 1, "linspace").tolist() == [999, -1]
