"""Inversion: from an image to the latent that the deterministic sampler turns back into it.

DDIM with eta = 0 is an ordinary differential equation in small steps (Song et al. 2021, arXiv
2010.02502, section 4.3), so the same step rule walks it upwards, from s to t > s:

    x_t = alpha_t x0(x_s, s) + sigma_t eps(x_s, s)                                         (9)

which is DiffusionCLIP's forward DDIM (Kim et al. 2022, arXiv 2110.02711, eq. 8). It is off by
the change of eps between s and t. The step that generation will undo has eps taken at t, so the
exact latent is the fixed point of

    x_t = (alpha_t / alpha_s) x_s + (sigma_t - alpha_t sigma_s / alpha_s) eps(x_t, t)     (10)

and a few iterations of eq. 10 from eq. 9's guess come close (Pan et al. 2023, AIDI, arXiv
2309.04907; Meiri et al. 2023, arXiv 2312.12540).

Both lead back to the picture. Who wants the noise that it was drawn from, and no more, has nearly
all of the error in the step that leaves the clean image: where a picture is smooth the last step
of generation left no trace of its noise, and eq. 9 begins with what the network makes up at
sigma = 0. `upwards_from_clean` undoes that step by

    x <- alpha_t x_0 + sigma_t eps(x, t) = x + alpha_t (x_0 - x0(x, t))                   (11)

from x = alpha_t x_0, which is eq. 10 from no noise at all (Landweber's iteration): what the
denoiser lets through comes back, most of it first, and what it took away stays zero.
"""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.diffusion.grids import ddim_grid
from clipdiff_jax.diffusion.prediction import Cond, Denoise, from_eps
from clipdiff_jax.diffusion.sampler import Steps, scanned
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.steps.ddim import ddim

Label = Literal["here", "next"]


def invert(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    fixed_point: int = 0,
    label: Label = "here",
) -> Float[Array, "b ..."]:
    """Walk x0 up the ascending grid `times`; returns the latent at times[-1], float32.

    times: `inversion_grid(t0, steps)` for the paper's walk, in which the clean image is taken for
        the sample at index 0. With `fixed_point` iterations of eq. 10 prefer
        `ddim_grid(t0, steps)[::-1]`, which starts at -1 and undoes every step of generation.

    label: which time the network is told at x_s: s, where x is ("here"), or t, where it is going
        ("next"), as published editors of latents have it.

    Costs (len(times) - 1) (1 + fixed_point) evaluations.
    """
    up = upwards(denoise, schedule, times, x0, cond, fixed_point=fixed_point, label=label)
    return scanned(up)


def invert_traced(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    fixed_point: int = 0,
    label: Label = "here",
) -> tuple[Float[Array, "b ..."], Float[Array, "m b ..."]]:
    """What `invert` returns, and all samples on the way: [n - 1, B, ...]."""
    up = upwards(denoise, schedule, times, x0, cond, fixed_point=fixed_point, label=label)
    return jax.lax.scan(up.body, up.carry, up.inputs)


def upwards(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    fixed_point: int = 0,
    label: Label = "here",
) -> Steps:
    """The walk of `invert` taken apart; what its steps see is where they lead."""
    times = jnp.asarray(times, jnp.int32)

    def up(x: Array, pair: tuple[Array, Array]) -> tuple[Array, Array]:
        t, t_next = pair
        eps = denoise(x, jnp.maximum(t_next if label == "next" else t, 0), cond).eps
        guess = _along(schedule, x, eps, t, t_next)

        def refine(guess: Array, _: None) -> tuple[Array, None]:
            return _along(schedule, x, denoise(guess, t_next, cond).eps, t, t_next), None

        there = jax.lax.scan(refine, guess, length=fixed_point)[0] if fixed_point else guess
        return there, there

    return Steps(x0.astype(jnp.float32), up, (times[:-1], times[1:]))


def upwards_from_clean(
    denoise: Denoise,
    schedule: NoiseSchedule,
    times: Int[Array | np.ndarray, " n"],
    x0: Float[Array, "b ..."],
    cond: Cond = None,
    *,
    rounds: int = 3,
) -> Steps:
    """The walk up `times`, ascending from -1, to the noise that x0 was drawn from as far as x0
    tells: the first step by `rounds` of eq. 11, the others by eq. 9.

    More rounds bring back more of what is faint, and of what happened to the picture since. Costs
    len(times) - 2 + rounds evaluations.
    """
    times, x0 = jnp.asarray(times, jnp.int32), x0.astype(jnp.float32)

    def up(x: Array, one: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        first, t, t_next = one
        eps = denoise(x, jnp.where(first, t_next, t), cond).eps
        there = _along(schedule, jnp.where(first, x0, x), eps, t, t_next)
        return there, there

    first = jnp.arange(len(times) - 2 + rounds) < rounds
    index = jnp.maximum(jnp.arange(len(first)) - rounds + 1, 0)
    return Steps(schedule.alpha(times[1]) * x0, up, (first, times[index], times[index + 1]))


def _along(schedule: NoiseSchedule, x: Array, eps: Array, t: Array, t_next: Array) -> Array:
    """x at t taken to t_next, if its noise is eps; eq. 9."""
    return ddim(schedule)(x, from_eps(schedule, x, t, eps), t, t_next, None)


def inversion_grid(t0: int, steps: int) -> Int[np.ndarray, " steps"]:
    """DiffusionCLIP's grid for inversion: the times of `ddim_grid` ascending, without -1.

    `steps` times ask for steps - 1 evaluations: one fewer than generation on the same grid.
    """
    return ddim_grid(t0, steps)[-2::-1]
