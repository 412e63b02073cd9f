"""Analytic-DPM: ancestral sampling with the variance that is optimal for the denoiser in use.

Bao et al. 2022, arXiv 2201.06503. The reverse step from t to s < t has DDPM's mean; of its variance
the part that is the uncertainty about x_0 follows from how long the predicted noise is, on average
over the data and over its d dimensions (theorem 1 and equation 14 there):

    Gamma_t = E || eps(x_t, t) ||^2 / d                                                   (15)
    Var(x_0 | x_t) = (sigma_t^2 / alpha_t^2) (1 - Gamma_t), within [0, 1]                 (16)
    variance = beta_tilde + alpha_s^2 (beta / sigma_t^2)^2 Var(x_0 | x_t)                 (17)

where beta = 1 - abar_t / abar_s. The bounds hold for data of at most unit variance, such as images
in [-1, 1] and standardised embeddings. Gamma is estimated once for a network and its data.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import Denoise, Prediction, match, q_sample
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import NoiseSchedule, posterior_variance, transition_variance
from clipdiff_jax.diffusion.steps.ancestral import posterior_mean

Times = Int[Array | np.ndarray, " steps"]


def estimate_gamma(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Times,
    batches: Float[Array, "n b ..."],
    key: Key[Array, ""],
    cond: Any = None,
) -> Float[Array, " steps"]:
    """Gamma of eq. 15 at each of `times`, by Monte Carlo over N batches of data.

    times: where a sampler will call the network, in any order: a grid without its end, -1.
    batches: clean data [N, B, ...], in the scale that `denoise` works in.
    cond: conditioning of the data, with the same two leading axes on every leaf.

    Pure; each time sees other noise. Costs S N evaluations of a batch. Raises `ValueError` for a
    time below 0, where there is no noise to predict.
    """
    if not isinstance(times, jax.core.Tracer) and np.min(times) < 0:
        raise ValueError(f"Gamma is of times from 0 on, got {int(np.min(times))}: leave out -1")
    times = jnp.asarray(times, jnp.int32)

    def of_batch(total: Array, inputs: Any) -> tuple[Array, None]:
        x0, cond, batch_key = inputs

        def of_time(inputs: Any) -> Array:
            t, noise_key = inputs
            x_t = q_sample(schedule, x0, t, jax.random.normal(noise_key, x0.shape, jnp.float32))
            return jnp.mean(denoise(x_t, t, cond).eps ** 2)

        keys = jax.random.split(batch_key, len(times))
        return total + jax.lax.map(of_time, (times, keys)), None

    keys = jax.random.split(key, len(batches))
    batches = batches.astype(jnp.float32)
    total, _ = jax.lax.scan(of_batch, jnp.zeros(len(times)), (batches, cond, keys))
    return total / len(batches)


def analytic(
    schedule: NoiseSchedule, times: Times, gamma: Float[Array | np.ndarray, " values"]
) -> Step:
    """The Analytic-DPM step, eq. 17; its last step, to the clean sample, adds no noise.

    times, gamma: what `estimate_gamma` was given and returned, times descending. Between two of the
        times Gamma is interpolated, so that a table serves other grids too.

    Raises `ValueError` for tables of two lengths; the step does without noise (no key).
    """
    if len(times) != len(gamma):
        raise ValueError(f"need one gamma for each of {len(times)} times, got {len(gamma)}")
    rising = jnp.asarray(times, jnp.float32)[::-1], jnp.asarray(gamma, jnp.float32)[::-1]

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        if z is None:
            raise ValueError("analytic sampling draws noise: give sample() a key or noise")
        t, t_next = match(t, x), match(t_next, x)
        mean = posterior_mean(schedule, x, prediction.x0, t, t_next)
        noise = schedule.sigma(t) ** 2
        uncertainty = noise / schedule.alpha(t) ** 2 * (1 - jnp.interp(t, *rising))
        of_x0 = schedule.alpha(t_next) * transition_variance(schedule, t, t_next) / noise
        variance = posterior_variance(schedule, t, t_next)
        variance += of_x0**2 * jnp.clip(uncertainty, 0.0, 1.0)
        return mean + jnp.where(t_next < 0, 0.0, jnp.sqrt(variance)) * z

    return step
