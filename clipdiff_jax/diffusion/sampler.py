"""Samplers: one scan that knows only a denoiser, a grid of times and a step rule.

    x at times[0] -> denoise -> Prediction -> step rule -> x at times[1] -> ... -> x at times[-1]

A step rule takes x_t and the denoiser's prediction at t to x_s at the next time s < t (both scalar,
or one for each picture). A plain function is a `Step`; a rule that looks back at earlier
predictions is a `Multistep`, and one that asks the denoiser again on its way is a `Reevaluating`.
The rules are in `steps`, one file each; a rule of a user's own is one more function.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction
from clipdiff_jax.diffusion.recompute import run_recomputed

Step = Callable[[Array, Prediction, Array, Array, Array | None], Array]


class Multistep(NamedTuple):
    """A step rule that remembers.

    start: x at times[0] -> what is remembered before the first step, a pytree of arrays.
    step: (memory, x_t, prediction, t, t_next, z) -> (memory, x at t_next).
    """

    start: Callable[[Array], Any]
    step: Callable[[Any, Array, Prediction, Array, Array, Array | None], tuple[Any, Array]]


class Reevaluating(NamedTuple):
    """A step rule that asks the denoiser again, such as Heun's.

    step: (again, x_t, prediction, t, t_next, z) -> x at t_next, where again(x, t) is the
        denoiser's `Prediction` at another x and t >= 0, with the conditioning of the walk.
    """

    step: Callable[
        [Callable[[Array, Array], Prediction], Array, Prediction, Array, Array, Array | None],
        Array,
    ]


StepRule = Step | Multistep | Reevaluating


class Trace(NamedTuple):
    """What happened on the way: after each of S steps the sample, and before it the guess."""

    x: Array
    x0: Array


def sample(
    denoise: Denoise,
    step: StepRule,
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

    rule = _remembering(step, denoise, cond)

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


def _remembering(step: StepRule, denoise: Denoise, cond: Cond) -> Multistep:
    """Any step rule as a `Multistep`; one without memory has an empty one."""
    if isinstance(step, Multistep):
        return step
    if isinstance(step, Reevaluating):
        rule: Step = functools.partial(step.step, lambda x, t: denoise(x, t, cond))
    else:
        rule = step

    def walk(memory: Any, x: Array, prediction: Prediction, t: Array, t_next: Array, z: Any):
        return memory, rule(x, prediction, t, t_next, z)

    return Multistep(lambda x: None, walk)


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
