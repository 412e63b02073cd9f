"""The DDIM step (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16), for any stride t -> s:

    c1 = eta sqrt((1 - abar_t / abar_s) (1 - abar_s) / (1 - abar_t))
    c2 = sqrt(1 - abar_s - c1^2)
    x_s = sqrt(abar_s) x0 + c2 eps + c1 z                                                  (7)

with z standard normal noise.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.diffusion.prediction import Prediction, match
from clipdiff_jax.diffusion.sampler import Step
from clipdiff_jax.diffusion.schedule import NoiseSchedule, posterior_variance


def ddim(schedule: NoiseSchedule, eta: float | Float[Array | np.ndarray, ""] = 0.0) -> Step:
    """The DDIM step, eq. 7. eta 0 is deterministic, 1 is DDPM's posterior variance.

    Raises ValueError when a step without noise (no key) meets an eta other than the number 0.
    """
    deterministic = isinstance(eta, (int, float)) and eta == 0

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        t, t_next = match(t, x), match(t_next, x)
        alpha_next, sigma_next = schedule.alpha(t_next), schedule.sigma(t_next)
        if deterministic:
            return alpha_next * prediction.x0 + sigma_next * prediction.eps
        if z is None:
            raise ValueError(f"ddim with eta={eta} draws noise: give sample() a key or noise")
        c1 = eta * jnp.sqrt(posterior_variance(schedule, t, t_next))
        c2 = jnp.sqrt(jnp.maximum(sigma_next**2 - c1**2, 0.0))
        return alpha_next * prediction.x0 + c2 * prediction.eps + c1 * z

    return step
