"""Steps one after another whose gradient takes the memory of one of them.

`jax.checkpoint` keeps the input of a step in place of what it computed on the way, and trusts the
compiler not to merge the second computation with the first, or begin it early. XLA's CPU compiler
does so where steps follow each other without a loop (it drops the barriers between them), and the
steps' memory adds up. Here the second computation of a step takes an input that depends on all
that later steps gave, gradients of parameters included, so that it cannot begin before.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Step = Callable[..., Any]


def run_recomputed(step: Step, x: Any, inputs: Any) -> Any:
    """x after `x = step(x, one)` for each of `inputs`, a pytree of arrays with a leading axis.

    Differentiable backwards in x and in what `step` closes over; `inputs` have no gradient.
    Forward-mode derivatives are an error.
    """
    first = jax.tree.map(lambda leaf: leaf[0], inputs)
    closed, hoisted = jax.closure_convert(step, x, first)
    return _run(closed, x, inputs, hoisted)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _run(step: Step, x: Any, inputs: Any, hoisted: Any) -> Any:
    return _forward(step, x, inputs, hoisted)[0]


def _forward(step: Step, x: Any, inputs: Any, hoisted: Any) -> tuple[Any, Any]:
    seen = []
    for one in _each(inputs):
        seen.append(x)
        x = step(x, one, *hoisted)
    return x, (seen, inputs, hoisted)


def _backward(step: Step, kept: Any, of_x: Any) -> tuple[Any, Any, Any]:
    seen, inputs, hoisted = kept
    of_hoisted = jax.tree.map(jnp.zeros_like, hoisted)
    for x, one in reversed(list(zip(seen, _each(inputs), strict=True))):
        late = _after(x, (of_x, of_hoisted))
        _, pull = jax.vjp(lambda x, hoisted, one=one: step(x, one, *hoisted), late, hoisted)
        of_x, more = pull(of_x)
        of_hoisted = jax.tree.map(jnp.add, of_hoisted, more)
    return of_x, None, of_hoisted


_run.defvjp(_forward, _backward)


def _each(inputs: Any) -> list[Any]:
    leaves = jax.tree.leaves(inputs)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], inputs) for i in range(len(leaves[0]))]


def _after(x: Any, others: Any) -> Any:
    """x, but not before `others`: a zero made of them, which may be NaN and so is not left out."""
    wait = sum(0.0 * leaf.ravel()[0] for leaf in jax.tree.leaves(others) if _is_float(leaf))
    add = lambda leaf: leaf + jnp.asarray(wait, leaf.dtype) if _is_float(leaf) else leaf
    return jax.tree.map(add, x)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)
