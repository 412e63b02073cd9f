"""Samplers: one scan that knows only a denoiser, a grid of times and a step rule.

A step rule takes x_t and the denoiser's prediction at t to x_s at the next time s < t (both
scalar, or one for each picture):

    DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16)
        c1 = eta sqrt((1 - abar_t / abar_s) (1 - abar_s) / (1 - abar_t))
        c2 = sqrt(1 - abar_s - c1^2)
        x_s = sqrt(abar_s) x0 + c2 eps + c1 z                                              (7)
    ancestral (Ho et al. 2020, arXiv 2006.11239, eq. 6 and 7, for any stride)
        x_s = mean(x0, x_t) + std z                                                        (8)

with z standard normal noise. Those that look back at earlier predictions are `Multistep`s; more
rules are in `analytic`, `dpm_solver` and `karlo`. A grid is an int32 array of descending times that
ends at -1, the clean image, so its S + 1 entries ask for S evaluations of the network.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction, match
from clipdiff_jax.diffusion.recompute import run_recomputed
from clipdiff_jax.diffusion.schedule import NoiseSchedule, posterior_variance, transition_variance

Step = Callable[[Array, Prediction, Array, Array, Array | None], Array]
Steps = int | Sequence[int] | Literal["glide"]


class Multistep(NamedTuple):
    """A step rule that remembers.

    start: x at times[0] -> what is remembered before the first step, a pytree of arrays.
    step: (memory, x_t, prediction, t, t_next, z) -> (memory, x at t_next).
    """

    start: Callable[[Array], Any]
    step: Callable[[Any, Array, Prediction, Array, Array, Array | None], tuple[Any, Array]]


class Trace(NamedTuple):
    """What happened on the way: after each of S steps the sample, and before it the guess."""

    x: Array
    x0: Array


def sample(
    denoise: Denoise,
    step: Step | Multistep,
    times: Int[Array | np.ndarray, " steps_plus_1"],
    x: Float[Array, "b ..."],
    cond: Cond,
    key: Key[Array, "..."] | None,
    *,
    noise: Float[Array, "steps b ..."] | None = None,
    trace: bool = False,
    remat: bool = False,
    unroll: bool = False,
):
    """Walk x from times[0] to times[-1] by `step`; differentiable.

    x: the sample at times[0]. cond: handed to `denoise` as it is.
    key: a typed key, or [B] of them (then each picture's noise depends on its own key alone, not
        on the batch it is in), or None where the step rule draws nothing.
    noise: the z of every step, in place of drawing them from `key`.
    remat: recompute each step in the backward pass, so that memory is that of one step plus S
        samples.
    unroll: lay the steps out one after another instead of looping: longer to compile, and for
        gradients on CPUs several times faster, since XLA's convolutions are slow inside of loops.

    Returns the sample at times[-1], float32; with `trace`, (that, Trace of [S, B, ...] arrays).
    """
    x = x.astype(jnp.float32)
    times = jnp.asarray(times, jnp.int32)
    steps = times.shape[0] - 1
    if noise is not None and noise.shape != (steps, *x.shape):
        raise ValueError(f"noise must be {(steps, *x.shape)} for this grid, got {noise.shape}")

    rule = step if isinstance(step, Multistep) else _forgetful(step)

    def body(carry, inputs):
        memory, x = carry
        t, t_next, index, z = inputs
        if z is None and key is not None:
            z = step_noise(key, index, x.shape)
        prediction = denoise(x, t, cond)
        memory, x_next = rule.step(memory, x, prediction, t, t_next, z)
        return (memory, x_next), Trace(x_next, prediction.x0) if trace else None

    inputs = (times[:-1], times[1:], jnp.arange(steps), noise)
    if remat and unroll and not trace:
        return run_recomputed(lambda *args: body(*args)[0], (rule.start(x), x), inputs)[1]
    body = jax.checkpoint(body) if remat else body
    (_, x), visited = jax.lax.scan(body, (rule.start(x), x), inputs, unroll=unroll)
    return (x, visited) if trace else x


def _forgetful(step: Step) -> Multistep:
    """A step rule without memory as one whose memory is empty."""

    def walk(memory: Any, x: Array, prediction: Prediction, t: Array, t_next: Array, z: Any):
        return memory, step(x, prediction, t, t_next, z)

    return Multistep(lambda x: None, walk)


def picture_keys(key: Key[Array, "..."], indices: Int[Array, " n"]) -> Key[Array, " b"]:
    """A key for each picture, `fold_in(key, index)`; one that is given for each already is kept."""
    if key.ndim == 1:
        return key
    return jax.vmap(functools.partial(jax.random.fold_in, key))(indices)


def step_noise(
    key: Key[Array, "..."], index: Int[Array, ""] | int, shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
    """Standard normal noise [B, ...] of step `index`, from one key or from one key per picture."""
    if key.ndim == 0:
        return jax.random.normal(jax.random.fold_in(key, index), shape)
    if key.shape != shape[:1]:
        raise ValueError(f"need one key or {shape[0]} of them, got keys shaped {key.shape}")

    def draw(one):
        return jax.random.normal(jax.random.fold_in(one, index), shape[1:])

    return jax.vmap(draw)(key)


def ddim(schedule: NoiseSchedule, eta: float | Float[Array, ""] = 0.0) -> Step:
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


def ancestral(
    schedule: NoiseSchedule, variance: Literal["small", "large", "learned"] = "small"
) -> Step:
    """The DDPM step, eq. 8, for any stride; its last step, to the clean image, adds no noise.

    variance: "small" beta_tilde (the posterior's), "large" beta, or "learned" (Improved DDPM,
        eq. 15), for networks that predict their variance.
    """
    if variance not in ("small", "large", "learned"):
        raise ValueError(f"variance must be 'small', 'large' or 'learned', got {variance!r}")

    def step(x: Array, prediction: Prediction, t: Array, t_next: Array, z: Array | None) -> Array:
        if z is None:
            raise ValueError("ancestral sampling draws noise: give sample() a key or noise")
        t, t_next = match(t, x), match(t_next, x)
        mean = posterior_mean(schedule, x, prediction.x0, t, t_next)
        if variance == "learned":
            if prediction.log_variance_mix is None:
                raise ValueError("variance='learned' needs a network that learned its variance")
            log_variance = learned_log_variance(schedule, t, t_next, prediction.log_variance_mix)
            std = jnp.exp(0.5 * log_variance)
        elif variance == "small":
            std = jnp.sqrt(posterior_variance(schedule, t, t_next))
        else:
            std = jnp.sqrt(transition_variance(schedule, t, t_next))
        return mean + jnp.where(t_next < 0, 0.0, std) * z

    return step


def posterior_mean(
    schedule: NoiseSchedule, x_t: Array, x0: Array, t: Int[Array, "..."], s: Int[Array, "..."]
) -> Array:
    """Mean of q(x_s | x_t, x_0), DDPM eq. 7, for any s < t; t and s scalar or shaped like x_t."""
    beta = transition_variance(schedule, t, s)
    variance_t, variance_s = schedule.sigma(t) ** 2, schedule.sigma(s) ** 2
    of_x0 = schedule.alpha(s) * beta / variance_t
    of_x_t = jnp.sqrt(1 - beta) * variance_s / variance_t
    return of_x0 * x0 + of_x_t * x_t


def learned_log_variance(
    schedule: NoiseSchedule, t: Int[Array, "..."], s: Int[Array, "..."], mix: Array
) -> Array:
    """log variance = mix log beta + (1 - mix) log beta_tilde (Improved DDPM, eq. 15).

    beta_tilde is 0 where s = -1; there, as in that paper's code, the next larger one stands in:
    the posterior variance of step 1 -> 0.
    """
    t_small = jnp.where(s < 0, jnp.maximum(t, 1), t)
    s_small = jnp.maximum(s, 0)
    log_small = jnp.log(posterior_variance(schedule, t_small, s_small))
    log_large = jnp.log(transition_variance(schedule, t, s))
    return mix * log_large + (1 - mix) * log_small


def ddim_grid(t0: int, steps: int) -> Int[np.ndarray, " steps_plus_1"]:
    """DiffusionCLIP's grid for generation: `steps` truncated, evenly spread times t0 .. 0, then -1.

    Raises ValueError where two of the times would coincide.
    """
    if steps < 2:
        raise ValueError(f"a grid from t0 to 0 needs at least 2 steps, got {steps}")
    if t0 < steps - 1:
        raise ValueError(f"{steps} distinct times need t0 >= {steps - 1}, got t0={t0}")
    rising = [int(s) for s in np.linspace(0, 1, steps) * t0]
    return np.array([*reversed(rising), -1], np.int32)


def even_grid(
    num_steps: int, steps: int, spacing: Literal["trailing", "leading", "linspace"] = "trailing"
) -> Int[np.ndarray, " steps_plus_1"]:
    """`steps` of a schedule's `num_steps` times, descending, then -1.

    trailing: starts at the noisiest time, round(T, T - T/S, ...) - 1 (Lin et al. 2023, arXiv
        2305.08891, table 2: the one that fits few steps). leading: multiples of T // S, ends at
        0. linspace: rounded linspace(0, T - 1), has both ends.
    """
    if not 1 <= steps <= num_steps:
        raise ValueError(f"steps must be between 1 and {num_steps}, got {steps}")
    if spacing == "trailing":
        times = np.round(np.arange(num_steps, 0, -num_steps / steps)[:steps]) - 1
    elif spacing == "leading":
        times = np.arange(steps)[::-1] * (num_steps // steps)
    elif spacing == "linspace":
        if steps < 2:
            raise ValueError(f"spacing 'linspace' has both ends, so at least 2 steps, got {steps}")
        times = np.round(np.arange(steps) * (num_steps - 1) / (steps - 1))[::-1]
    else:
        raise ValueError(f"spacing must be 'trailing', 'leading' or 'linspace', got {spacing!r}")
    return np.array([*times.astype(np.int64), -1], np.int32)


def step_grid(num_steps: int, steps: Steps) -> Int[np.ndarray, " steps_plus_1"]:
    """The grid that `steps` asks for: so many evenly spread times with both ends (`even_grid`),
    so many in each of equal sections (`section_grid`), or "glide" (`glide_grid`).

    Raises `ValueError` for another name and for what those grids refuse.
    """
    if isinstance(steps, int):
        return even_grid(num_steps, steps, "linspace")
    if not isinstance(steps, str):
        return section_grid(num_steps, steps)
    if steps != "glide":
        raise ValueError(
            "steps must be a number, numbers for the sections of the schedule, or 'glide', got "
            f"{steps!r}"
        )
    return glide_grid(num_steps)


def section_grid(num_steps: int, counts: Sequence[int]) -> Int[np.ndarray, " steps_plus_1"]:
    """sum(counts) times: counts[i] of them spread over the i-th of equal sections, then -1.

    counts: of each section of the schedule's `num_steps` times, that of the least noise first. The
        times of a section include both of its ends (one alone is its first); where `num_steps` does
        not divide, the first sections are one longer.

    Raises `ValueError` for a section with more times than it is long, or none.
    """
    times: list[int] = []
    for section, count in zip(
        np.array_split(np.arange(num_steps), len(counts)), counts, strict=True
    ):
        if not 1 <= count <= len(section):
            raise ValueError(
                f"a section of {len(section)} times can have 1 to {len(section)} steps, got "
                f"{count} in {tuple(counts)}"
            )
        times += [section[int(i)] for i in np.round(np.linspace(0, len(section) - 1, count))]
    return np.array([*reversed(times), -1], np.int32)


def glide_grid(num_steps: int = 1000) -> Int[np.ndarray, "28"]:
    """GLIDE's 27 steps for upsamplers: 10, 10, 3, 2, 2 over five sections (arXiv 2112.10741).

    As in the release of Nichol et al. the walk starts two times short of the noisiest one, at
    which DDIM is at its worst.
    """
    grid = section_grid(num_steps, (10, 10, 3, 2, 2))
    grid[0] = num_steps - 3
    return grid
