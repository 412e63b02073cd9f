"""Training losses of a diffusion network.

    L_simple = E w(t) || target - network(alpha x_0 + sigma eps, t) ||^2                  (11)

on the network's own target (see `prediction`; DDPM, Ho et al. 2020, eq. 14). A network that also
learns its variance adds a multiple of the variational bound, with the mean held fixed (Improved
DDPM, Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 16):

    L_hybrid = L_simple + (T / 1000) L_vlb                                                (12)
    L_vlb(t) = KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))  for t > 0                   (13)
    L_vlb(0) = -log p(x_0 | x_1), a Gaussian integrated over each of 256 grey levels      (14)

in bits per dimension. (That paper's lambda = 0.001 multiplies the sum over T times; drawing one
t per image estimates sum / T, hence T / 1000.)
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import (
    Cond,
    Network,
    Preconditioned,
    Prediction,
    Target,
    from_output,
    q_sample,
    split_variance,
    to_target,
)
from clipdiff_jax.diffusion.schedule import NoiseSchedule, posterior_variance
from clipdiff_jax.diffusion.steps.ancestral import learned_log_variance, posterior_mean

Weighting = Literal["uniform", "min_snr", "v"]


def loss_weight(
    weighting: Weighting,
    target: Target,
    schedule: NoiseSchedule,
    t: Int[Array, "..."],
    gamma: float = 5.0,
) -> Float[Array, "..."]:
    """w(t) of eq. 11 for a loss on `target`.

    uniform: 1. min_snr: min(SNR, gamma) on x0, which is min(SNR, gamma) / SNR on eps and
    min(SNR, gamma) / (SNR + 1) on v (Hang et al. 2023, arXiv 2303.09556, section 3.4). v: what a
    uniform loss on v is, SNR + 1 on x0, whatever the network outputs (as of Li and He 2025,
    arXiv 2511.13720); on F of eq. 6b it is bounded, by 1 / s^2.
    """
    if weighting == "uniform":
        return jnp.ones(jnp.shape(t), jnp.float32)
    if weighting not in ("min_snr", "v"):
        raise ValueError(f"weighting must be 'uniform', 'min_snr' or 'v', got {weighting!r}")
    snr = jnp.exp(schedule.logsnr(t))
    of_x0 = jnp.minimum(snr, gamma) if weighting == "min_snr" else snr + 1
    if isinstance(target, Preconditioned):  # an error of F is 1 + s^2 SNR times as large as of x0
        return of_x0 / (1 + target.data_std**2 * snr)
    return of_x0 / {"x0": jnp.ones_like(snr), "eps": snr, "v": snr + 1}[target]


@dataclass(frozen=True)
class NoiseLoss:
    """Eq. 11, or eq. 12 with `learned_variance`.

    Attributes:
      schedule: the noise schedule.
      prediction: what the network outputs.
      weighting: w(t), see `loss_weight`.
      learned_variance: whether the second half of the output is the variance.
      vlb_weight: of L_vlb, in units of T / 1000.
    """

    schedule: NoiseSchedule
    prediction: Target = "eps"
    weighting: Weighting = "uniform"
    learned_variance: bool = False
    vlb_weight: int | float = 1.0

    def draw(
        self, x0: Float[Array, "b ..."], time_key: Key[Array, ""], noise_key: Key[Array, ""]
    ) -> tuple[Int[Array, " b"], Float[Array, "b ..."]]:
        """(t, eps): a time for each image, all equally likely, and its noise."""
        t = jax.random.randint(time_key, x0.shape[:1], 0, self.schedule.num_steps)
        return t, jax.random.normal(noise_key, x0.shape, jnp.float32)

    def __call__(
        self,
        network: Network,
        x0: Float[Array, "b ..."],
        t: Int[Array, " b"],
        eps: Float[Array, "b ..."],
        cond: Cond = None,
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """(loss, metrics) over a batch of images with their t and noise.

        network: as `make_denoise` takes it. Metrics: "mse", the unweighted mean square, and with a
        learned variance "vlb" in bits per dimension.
        """
        schedule, target = self.schedule, self.prediction
        x_t = q_sample(schedule, x0, t, eps)
        output = network(x_t, t, cond).astype(jnp.float32)
        output, mix = split_variance(output, x0.shape[-1], self.learned_variance)
        error = output - to_target(target, schedule, t, x0, eps)
        mse = jnp.mean(error**2, axis=tuple(range(1, x0.ndim)))
        loss = jnp.mean(loss_weight(self.weighting, target, schedule, t) * mse)
        metrics = {"mse": jnp.mean(mse)}
        if mix is not None:
            fixed = from_output(target, schedule, x_t, t, jax.lax.stop_gradient(output))
            vlb = jnp.mean(vlb_terms(schedule, fixed._replace(log_variance_mix=mix), x0, x_t, t))
            loss = loss + self.vlb_weight * schedule.num_steps / 1000 * vlb
            metrics["vlb"] = vlb
        return loss, metrics


def vlb_terms(
    schedule: NoiseSchedule,
    prediction: Prediction,
    x0: Float[Array, "b ..."],
    x_t: Float[Array, "b ..."],
    t: Int[Array, " b"],
) -> Float[Array, " b"]:
    """Eq. 13 and 14 for each image, bits per dimension; needs `prediction.log_variance_mix`."""
    if prediction.log_variance_mix is None:
        raise ValueError("the variational bound needs a prediction with a learned variance")
    time = t.reshape(t.shape + (1,) * (x0.ndim - 1))
    before = time - 1
    mean = posterior_mean(schedule, x_t, prediction.x0, time, before)
    log_variance = learned_log_variance(schedule, time, before, prediction.log_variance_mix)
    true_mean = posterior_mean(schedule, x_t, x0, time, before)
    later = jnp.maximum(time, 1)
    true_log_variance = jnp.log(posterior_variance(schedule, later, later - 1))
    kl = gaussian_kl(true_mean, true_log_variance, mean, log_variance)
    nll = -discrete_log_likelihood(x0, mean, 0.5 * log_variance)
    nats = jnp.where(time == 0, nll, kl)
    return jnp.mean(nats, axis=tuple(range(1, x0.ndim))) / jnp.log(2.0)


def gaussian_kl(
    mean_q: Float[Array, "..."],
    log_variance_q: Float[Array, "..."],
    mean_p: Float[Array, "..."],
    log_variance_p: Float[Array, "..."],
) -> Float[Array, "..."]:
    """KL(q || p) between normal distributions, elementwise, in nats."""
    ratio = log_variance_q - log_variance_p
    distance = (mean_q - mean_p) ** 2 * jnp.exp(-log_variance_p)
    return 0.5 * (-1.0 - ratio + jnp.exp(ratio) + distance)


def discrete_log_likelihood(
    x: Float[Array, "..."], mean: Float[Array, "..."], log_std: Float[Array, "..."]
) -> Float[Array, "..."]:
    """log of a normal's mass in the 1/255 bin around each grey level of x in [-1, 1], eq. 14.

    The outermost bins reach to infinity (DDPM, eq. 13). In nats.
    """
    half, inv_std = 1 / 255, jnp.exp(-log_std)
    upper, lower = (x - mean + half) * inv_std, (x - mean - half) * inv_std
    log_below = jax.scipy.stats.norm.logcdf(upper)
    log_above = jax.scipy.stats.norm.logcdf(-lower)
    mass = jax.scipy.stats.norm.cdf(upper) - jax.scipy.stats.norm.cdf(lower)
    log_inside = jnp.log(jnp.maximum(mass, 1e-12))
    return jnp.where(x < -0.999, log_below, jnp.where(x > 0.999, log_above, log_inside))
