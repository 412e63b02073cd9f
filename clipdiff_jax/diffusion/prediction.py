"""What a network predicts, turned into one form: (x0, eps).

At time t, with x_t = alpha x_0 + sigma eps (schedule eq. 2), a network may have been trained on
one of four targets:

    eps                                                   DDPM, Ho et al. 2020, eq. 14      (4)
    x0                                                                                      (5)
    v = alpha eps - sigma x_0      Salimans and Ho 2022, arXiv 2202.00512, appendix D       (6)
    F = (sigma x_0 - alpha s^2 eps) / n,  n^2 = alpha^2 s^2 + sigma^2                      (6b)
                                   Karras et al. 2022, arXiv 2206.00364, eq. 7 (times s)

The last is what `Preconditioned` says: an analytic skip brings x_t past the network. Each of the
four determines x_0 and eps; everything downstream reads `Prediction.x0` and
`Prediction.eps` and need not know which one it was. Arithmetic is float32 whatever the network
computes in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from clipdiff_jax.diffusion.schedule import NoiseSchedule


@dataclass(frozen=True)
class Preconditioned:
    """The target F of eq. 6b: x_0 = (alpha s^2 / n^2) x_t + (sigma / n) F.

    With s = 1 it is -v, and all of the noise has to pass through the network; towards s = 0 it is
    x_0, which holds none ("Back to basics", Li and He 2025, arXiv 2511.13720), but whose eps has
    errors of 1 / sigma near the clean image. In between the noise in F has at most the size s, and
    the errors of eps are at most 1 / s times those of F: for training that gives clean pictures
    and an inversion that is smooth down to t = 0.

    Attributes:
      data_std: s, the noise-to-signal ratio at which the skip hands over to the network. The paper
        has the standard deviation of the data, of which F then has the size at any time.
    """

    data_std: float

    def __post_init__(self) -> None:
        if not self.data_std > 0:
            raise ValueError(f"data_std must be positive, got {self.data_std}")


Target = Literal["eps", "x0", "v"] | Preconditioned
Cond = Any
Network = Callable[[Array, Array, Cond], Array]


class Prediction(NamedTuple):
    """What a denoiser predicts from x_t.

    x0, eps: the clean image and the noise, both shaped as x_t; x_t = alpha x0 + sigma eps.
    log_variance_mix: for networks that learn their variance, the position in [0, 1] of
        log(variance) between log beta_tilde (0) and log beta (1), shaped as x_t (Improved DDPM,
        arXiv 2102.09672, eq. 15); a sampler knows both ends once it knows its stride. Else None.
    """

    x0: Array
    eps: Array
    log_variance_mix: Array | None = None


Denoise = Callable[[Array, Array, Cond], Prediction]


def match(values: Shaped[Array, "..."], x: Float[Array, "b ..."]) -> Shaped[Array, "..."]:
    """Times, values at them or choices, scalar or [B], shaped to broadcast against x [B, ...]."""
    return values.reshape(values.shape + (1,) * (x.ndim - values.ndim)) if values.ndim else values


def q_sample(
    schedule: NoiseSchedule,
    x0: Float[Array, "b ..."],
    t: Int[Array, "..."],
    eps: Float[Array, "b ..."],
) -> Float[Array, "b ..."]:
    """x_t = alpha x_0 + sigma eps (schedule eq. 2); t scalar or [B]."""
    return match(schedule.alpha(t), x0) * x0 + match(schedule.sigma(t), x0) * eps


def from_eps(
    schedule: NoiseSchedule, x_t: Float[Array, "b ..."], t: Int[Array, "..."], eps: Array
) -> Prediction:
    """x0 = (x_t - sigma eps) / alpha (DDIM, Song et al. 2021, arXiv 2010.02502, eq. 9)."""
    alpha, sigma = match(schedule.alpha(t), x_t), match(schedule.sigma(t), x_t)
    return Prediction(x0=(x_t - sigma * eps) / alpha, eps=eps)


def from_x0(
    schedule: NoiseSchedule, x_t: Float[Array, "b ..."], t: Int[Array, "..."], x0: Array
) -> Prediction:
    """eps = (x_t - alpha x0) / sigma; undefined at the clean end, t = -1."""
    alpha, sigma = match(schedule.alpha(t), x_t), match(schedule.sigma(t), x_t)
    return Prediction(x0=x0, eps=(x_t - alpha * x0) / sigma)


def from_v(
    schedule: NoiseSchedule, x_t: Float[Array, "b ..."], t: Int[Array, "..."], v: Array
) -> Prediction:
    """x0 = alpha x_t - sigma v, eps = sigma x_t + alpha v: eq. 6 solved."""
    alpha, sigma = match(schedule.alpha(t), x_t), match(schedule.sigma(t), x_t)
    return Prediction(x0=alpha * x_t - sigma * v, eps=sigma * x_t + alpha * v)


def from_preconditioned(
    data_std: float,
    schedule: NoiseSchedule,
    x_t: Float[Array, "b ..."],
    t: Int[Array, "..."],
    output: Array,
) -> Prediction:
    """Eq. 6b solved: x0 = (alpha s^2 x_t / n + sigma F) / n and
    eps = (sigma x_t / n - alpha F) / n.

    Unlike `from_x0` it divides by nothing that vanishes at the clean end.
    """
    alpha, sigma = match(schedule.alpha(t), x_t), match(schedule.sigma(t), x_t)
    norm = jnp.sqrt((alpha * data_std) ** 2 + sigma**2)
    return Prediction(
        x0=(alpha * data_std**2 / norm * x_t + sigma * output) / norm,
        eps=(sigma / norm * x_t - alpha * output) / norm,
    )


def to_target(
    target: Target,
    schedule: NoiseSchedule,
    t: Int[Array, "..."],
    x0: Float[Array, "b ..."],
    eps: Float[Array, "b ..."],
) -> Float[Array, "b ..."]:
    """What a network trained on `target` should output: eq. 4, 5, 6 or 6b."""
    if target == "eps":
        return eps
    if target == "x0":
        return x0
    alpha, sigma = match(schedule.alpha(t), x0), match(schedule.sigma(t), x0)
    if isinstance(target, Preconditioned):
        norm = jnp.sqrt((alpha * target.data_std) ** 2 + sigma**2)
        return (sigma * x0 - alpha * target.data_std**2 * eps) / norm
    return alpha * eps - sigma * x0


def from_output(
    target: Target,
    schedule: NoiseSchedule,
    x_t: Float[Array, "b ..."],
    t: Int[Array, "..."],
    output: Array,
) -> Prediction:
    """The inverse of `to_target`: the Prediction a network's output amounts to."""
    if isinstance(target, Preconditioned):
        return from_preconditioned(target.data_std, schedule, x_t, t, output)
    rule = {"eps": from_eps, "x0": from_x0, "v": from_v}[target]
    return rule(schedule, x_t, t, output)


def make_denoise(
    network: Network,
    schedule: NoiseSchedule,
    prediction: Target = "eps",
    learned_variance: bool = False,
    clip: float | None = None,
) -> Denoise:
    """Wrap a network's apply into the contract that guidance and samplers speak.

    network: (x_t [B, ..., C], t int32 [B], cond) -> [B, ..., C], or [B, ..., 2C] with
        `learned_variance`, whose second half v in [-1, 1] gives the mix (v + 1) / 2.
    clip: where given, x0 is clipped to [-clip, clip] and eps made to agree. Leave it None for
        inversion and editing.

    The result accepts t scalar or [B].
    """
    if prediction not in ("eps", "x0", "v") and not isinstance(prediction, Preconditioned):
        raise ValueError(
            f"prediction must be 'eps', 'x0', 'v' or Preconditioned, got {prediction!r}"
        )

    def denoise(x_t: Array, t: Array, cond: Cond) -> Prediction:
        x_t = x_t.astype(jnp.float32)
        t = jnp.broadcast_to(jnp.asarray(t, jnp.int32), x_t.shape[:1])
        output = network(x_t, t, cond).astype(jnp.float32)
        output, mix = split_variance(output, x_t.shape[-1], learned_variance)
        result = from_output(prediction, schedule, x_t, t, output)
        if clip is not None:
            result = from_x0(schedule, x_t, t, jnp.clip(result.x0, -clip, clip))
        return result._replace(log_variance_mix=mix)

    return denoise


def split_variance(
    output: Float[Array, "b ... c"], channels: int, learned_variance: bool
) -> tuple[Float[Array, "b ... d"], Float[Array, "b ... d"] | None]:
    """(prediction, log-variance mix or None) of a raw output with `channels` image channels."""
    expected = channels * (2 if learned_variance else 1)
    if output.shape[-1] != expected:
        raise ValueError(
            f"the network returned {output.shape[-1]} channels where {expected} were expected: "
            f"{channels} image channels, learned_variance={learned_variance}"
        )
    if not learned_variance:
        return output, None
    return output[..., :channels], (output[..., channels:] + 1) / 2
