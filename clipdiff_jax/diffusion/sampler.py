"""Samplers: one scan that knows only a denoiser, a grid of times and a step rule.

    x at times[0] -> denoise -> Prediction -> step rule -> x at times[1] -> ... -> x at times[-1]

A step rule takes x_t and the denoiser's prediction at t to x_s at the next time s < t (both scalar,
or one for each picture). A plain function is a `Step`; a rule that looks back at earlier
predictions is a `Multistep`, and one that asks the denoiser again on its way is a `Reevaluating`.
The rules are in `steps`, one file each; a rule of your own is one more function.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.diffusion.prediction import Cond, Denoise, Prediction

Times = Int[Array | np.ndarray, " steps_plus_1"]
Noise = Key[Array, "..."] | Float[Array, "steps b ..."] | None
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
    times: Times,
    x: Float[Array, "b ..."],
    cond: Cond = None,
    noise: Noise = None,
    *,
    remat: bool = False,
) -> Float[Array, "b ..."]:
    """Walks x from times[0] to times[-1] by `step` and returns it, float32; differentiable.

    x: the sample at times[0]. cond: handed to `denoise` as it is.
    noise: what the z of the steps are drawn from: a typed key, or [B] of them (then each picture's
        noise depends on its own key alone, not on the batch it is in); or the z themselves,
        [S, B, ...]; or None where the step rule draws nothing.
    remat: recompute each step in the backward pass, so that memory is that of one step plus S
        samples.
    """
    laid_out = steps_of(denoise, step, times, x, cond, noise)
    last = lambda carry, one: (laid_out.body(carry, one)[0], None)
    last = jax.checkpoint(last) if remat else last
    return jax.lax.scan(last, laid_out.carry, laid_out.inputs)[0][1]


def sample_traced(
    denoise: Denoise,
    step: StepRule,
    times: Times,
    x: Float[Array, "b ..."],
    cond: Cond = None,
    noise: Noise = None,
) -> tuple[Float[Array, "b ..."], Trace]:
    """What `sample` returns, and the way there: arrays of [S, B, ...]."""
    laid_out = steps_of(denoise, step, times, x, cond, noise)
    (_, x), visited = jax.lax.scan(laid_out.body, laid_out.carry, laid_out.inputs)
    return x, visited


class Steps(NamedTuple):
    """A walk taken apart, for who takes its steps otherwise than in one scan.

    carry: before the first step; of `steps_of` (what the step rule remembers, x). body: (carry,
    inputs of a step) -> (carry, what is seen there; of `steps_of` its `Trace`). inputs: of all
    steps, pytrees with a leading axis of S. end: (carry, what all steps saw, where that is kept)
    -> the result.
    """

    carry: Any
    body: Callable[[Any, Any], tuple[Any, Any]]
    inputs: Any
    end: Callable[[Any, Any], Any] = lambda carry, _: carry

    def then(self, function: Callable[[Any], Any]) -> "Steps":
        """The same walk with a function of its result."""
        return self._replace(end=lambda carry, seen: function(self.end(carry, seen)))


def scanned(
    laid_out: Steps, *, first: int | Int[Array | np.ndarray, ""] = 0, keep: bool = False
) -> Any:
    """The result of a walk in one scan; from step `first` on, which may be traced where what the
    steps see is not kept."""

    def at(index: Array, carry: Any) -> Any:
        one = jax.tree.map(lambda a: a[index], laid_out.inputs)
        return laid_out.body(carry, one)[0]

    if isinstance(first, jax.core.Tracer):
        count = len(jax.tree.leaves(laid_out.inputs)[0])
        return laid_out.end(jax.lax.fori_loop(first, count, at, laid_out.carry), None)
    inputs = jax.tree.map(lambda a: a[int(first) :], laid_out.inputs)
    body = laid_out.body if keep else lambda carry, one: (laid_out.body(carry, one)[0], None)
    return laid_out.end(*jax.lax.scan(body, laid_out.carry, inputs))


def steps_of(
    denoise: Denoise,
    step: StepRule,
    times: Times,
    x: Float[Array, "b ..."],
    cond: Cond = None,
    noise: Noise = None,
) -> Steps:
    """The start, the body and the inputs of the scan that `sample` is."""
    x = x.astype(jnp.float32)
    times = jnp.asarray(times, jnp.int32)
    steps = times.shape[0] - 1
    given = noise is not None and not jnp.issubdtype(noise.dtype, jax.dtypes.prng_key)
    key, z = (None, noise) if given else (noise, None)
    if z is not None and z.shape != (steps, *x.shape):
        raise ValueError(f"noise must be {(steps, *x.shape)} for this grid, got {z.shape}")
    rule = _remembering(step, denoise, cond)

    def body(carry: Any, inputs: Any) -> tuple[Any, Trace]:
        memory, x = carry
        t, t_next, index, z = inputs
        if z is None and key is not None:
            z = step_noise(key, index, x.shape)
        prediction = denoise(x, t, cond)
        memory, x_next = rule.step(memory, x, prediction, t, t_next, z)
        x_next = x_next.astype(jnp.float32)  # also where 64-bit numbers are on
        return (memory, x_next), Trace(x_next, prediction.x0)

    inputs = (times[:-1], times[1:], jnp.arange(steps), z)
    return Steps((rule.start(x), x), body, inputs, lambda carry, _: carry[1])


def _remembering(step: StepRule, denoise: Denoise, cond: Cond) -> Multistep:
    """Any step rule as a `Multistep`; one without memory has an empty one."""
    if isinstance(step, Multistep):
        return step
    if isinstance(step, Reevaluating):
        rule: Step = functools.partial(step.step, lambda x, t: denoise(x, t, cond))
    else:
        rule = step

    def walk(memory: Any, x: Array, prediction: Prediction, t: Array, t_next: Array, z: Any) -> Any:
        return memory, rule(x, prediction, t, t_next, z)

    return Multistep(lambda x: None, walk)


def step_noise(
    key: Key[Array, "..."], index: Int[Array, ""] | int, shape: tuple[int, ...]
) -> Float[Array, "b ..."]:
    """Standard normal noise [B, ...] of step `index`, from one key or from one key per picture."""
    if key.ndim == 0:
        return jax.random.normal(jax.random.fold_in(key, index), shape, jnp.float32)
    if key.shape != shape[:1]:
        raise ValueError(f"need one key or {shape[0]} of them, got keys shaped {key.shape}")

    def draw(one: Key[Array, ""]) -> Array:
        return jax.random.normal(jax.random.fold_in(one, index), shape[1:], jnp.float32)

    return jax.vmap(draw)(key)
