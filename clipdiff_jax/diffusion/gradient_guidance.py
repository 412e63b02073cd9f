"""Guidance by the gradient of any loss of the predicted picture, as a function Denoise -> Denoise.

Classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233, algorithm 2) with log p(y | x_t)
replaced by -L(x0_hat(x_t)), as in Crowson's CLIP-guided diffusion (2021). With g = -dL/dx_t, taken
through the network,

    eps' = eps - sigma_t g,    x0' = x0 + sigma_t^2 / alpha_t g

so that x_t = alpha_t x0' + sigma_t eps' still holds, and every sampler and solver follows. Here
sigma_t g is made no longer than a given root mean square per picture: then one scale of the loss
serves all times, sizes and schedules.

The gradient is that at x_t. The released code takes it there too where its formula asks for the
mean of the next sample; all published numbers are of that.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, match
from clipdiff_jax.diffusion.schedule import NoiseSchedule

See = Literal["blend", "x0"]
Loss = Callable[[Array, Array, Key[Array, " b"]], Float[Array, " b"]]
_VIEWS = 0x5EED  # sets the losses' randomness apart from the noise of the steps, of the same keys


class Steered(NamedTuple):
    """The conditioning of a guided denoiser: the model's own, and a key for each picture."""

    cond: Any
    keys: Key[Array, " b"]


def gradient_guided(
    denoise: Denoise,
    loss: Loss,
    schedule: NoiseSchedule,
    *,
    see: See = "blend",
    clamp: float | Float[Array, ""] = jnp.inf,
) -> Denoise:
    """`denoise` pushed down the gradient of a loss; its conditioning is `Steered`.

    Args:
      loss: (pictures [B,...], x0 [B,...], a key for each) -> [B], one number for each picture and
        of that picture alone. The keys are other ones at each time.
      see: what the loss is shown: "x0", the predicted picture, or "blend", sigma_t x0 + (1 -
        sigma_t) x_t, which becomes x_t itself as the noise goes.
      clamp: the most that sigma_t g may be, as root mean square over a picture; infinity clamps
        nothing.
    """

    def guided(x_t: Array, t: Array, cond: Cond) -> Prediction:
        alpha, sigma = match(schedule.alpha(t), x_t), match(schedule.sigma(t), x_t)
        times = jnp.broadcast_to(t, x_t.shape[:1])
        keys = jax.vmap(lambda key, t: jax.random.fold_in(jax.random.fold_in(key, _VIEWS), t))(
            cond.keys, times
        )

        def total(x_t: Array) -> tuple[Array, Prediction]:
            out = denoise(x_t, t, cond.cond)
            shown = out.x0 if see == "x0" else sigma * out.x0 + (1 - sigma) * x_t
            return jnp.sum(loss(shown, out.x0, keys)), out

        slope, out = jax.grad(total, has_aux=True)(x_t)
        push = -sigma * slope
        rms = jnp.sqrt(jnp.mean(push**2, axis=tuple(range(1, x_t.ndim)), keepdims=True))
        push = push * jnp.minimum(1.0, clamp / jnp.maximum(rms, jnp.finfo(rms.dtype).tiny))
        return out._replace(x0=out.x0 + sigma / alpha * push, eps=out.eps - push)

    return guided
