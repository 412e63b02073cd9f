"""DPM-Solver++ (2M): DDIM's differential equation to second order, one evaluation per step.

Lu et al. 2022, arXiv 2211.01095, algorithm 2. With lambda = log(alpha / sigma) as the time, the
equation from t to s is linear but for the prediction x0; holding x0 fixed gives DDIM, and a line
through the last two predictions one order more:

    D = (1 + h / 2h') x0(x_t, t) - (h / 2h') x0(x_t', t')                                 (18)
    x_s = (sigma_s / sigma_t) x_t + alpha_s (1 - exp(-h)) D                               (19)

for the times t' > t > s, with h = lambda_s - lambda_t and h' = lambda_t - lambda_t'. The first step
has no earlier prediction, and towards the clean image h is infinite: both are DDIM's, D = x0. So is
a step more than `LONGEST` times as long as the one before: the line would be drawn far beyond the
two points that it is drawn through. On a grid that ends at time 0 the last step but one is such a
step, and the error of eq. 18 there is larger than all others together.
"""

import jax.numpy as jnp
from jaxtyping import Array

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Multistep
from clipdiff_jax.diffusion.schedule import NoiseSchedule

LONGEST = 2.0  # h / h' up to which a step is of second order
Memory = tuple[Array, Array]  # the last x0, and the lambda it was predicted at


def dpm_solver(schedule: NoiseSchedule) -> Multistep:
    """The step of eq. 19; deterministic."""

    def start(x: Array) -> Memory:
        # An infinitely long step before the first one gives the line of eq. 18 no slope.
        return jnp.zeros_like(x), jnp.float32(-jnp.inf)

    def step(
        memory: Memory, x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None
    ) -> tuple[Memory, Array]:
        del z
        before, lambda_before = memory
        t, t_next = match(t, x), match(t_next, x)
        lambda_t, lambda_next = schedule.logsnr(t) / 2, schedule.logsnr(t_next) / 2
        h = lambda_next - lambda_t
        h_before = lambda_t - lambda_before
        bent = jnp.isfinite(h) & (h <= LONGEST * h_before)
        slope = jnp.where(bent, h / (2 * h_before), 0.0)
        d = prediction.x0 + slope * (prediction.x0 - before)
        kept = schedule.sigma(t_next) / schedule.sigma(t)
        x_next = kept * x + schedule.alpha(t_next) * -jnp.expm1(-h) * d
        return (prediction.x0, lambda_t), x_next

    return Multistep(start, step)
