"""Walks as compiled programs, a step at a time: whoever waits sees how far they are.

    @stepping("drawing", static_argnames="sampler")
    def _generate(model: Diffusion, times: Array, keys: Array, *, sampler: Sampler) -> Steps:
        return steps_of(model.denoise, make_step(sampler, ...), times, start, None, keys)

    pictures = _generate(model, times, keys, sampler="ddim")

What the function lays out becomes three programs: what is before the first step, one step, and what
is after the last. The next step is handed over while the one before is computed, so a device never
waits, whether somebody looks on or not; and it is the same program for both, so the numbers are the
same too. The programs are not told to report from within a loop, because jax's persistent cache
does not keep programs that call back. Where the caller is traced itself, all is one scan.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from clipdiff_jax.core.progress import Bar, compiling, counter, is_followed, is_traced
from clipdiff_jax.diffusion.sampler import Steps, scanned

Watcher = Callable[[int, Any], object]  # (steps taken, what the step's body gave) -> ignored


class Stepping:
    """A walk as three compiled programs; made by `stepping`."""

    def __init__(
        self,
        lay_out: Callable[..., Steps],
        what: str,
        static_argnames: Sequence[str],
        keep: bool,
        donate: bool,
    ) -> None:
        self._lay_out, self._what, self._keep = lay_out, what, keep
        functools.update_wrapper(self, lay_out)
        compiled = functools.partial(jax.jit, static_argnames=static_argnames)

        def begin(*args: Any, **static: Any) -> tuple[Any, Any]:
            is_traced()
            laid_out = lay_out(*args, **static)
            owned = jax.tree.map(jnp.copy, laid_out.carry) if donate else laid_out.carry
            return owned, laid_out.inputs

        def step(
            args: Any, carry: Any, inputs: Any, index: Int[Array, ""], **static: Any
        ) -> tuple[Any, Any, Int[Array, ""]]:
            is_traced()
            one = jax.tree.map(lambda a: a[index], inputs)
            carry, visited = lay_out(*args, **static).body(carry, one)
            return carry, visited, index + 1

        def end(args: Any, carry: Any, visited: Any, **static: Any) -> Any:
            is_traced()
            return lay_out(*args, **static).end(carry, visited)

        for function in (begin, step, end):
            function.__name__ = f"{function.__name__}_{lay_out.__name__.lstrip('_')}"
        self._begin, self._end = compiled(begin), compiled(end)
        self._step = compiled(step, donate_argnames="carry" if donate else ())

    def __call__(
        self,
        *args: Any,
        first: int | Int[Array | np.ndarray, ""] = 0,
        on_step: Watcher | None = None,
        **static: Any,
    ) -> Any:
        """What is at the end of the walk.

        first: the step that it begins with. on_step: is called after each step with how many there
        were and what the body of the walk gave beside what it carries. static: what is part of the
        programs.
        """
        with compiling(self._what):
            carry, inputs = self._begin(*args, **static)
        if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((carry, inputs))):
            as_jax = jax.tree.map(_of_jax, args)  # what `jit` does to its arguments
            laid_out = self._lay_out(*as_jax, **static)._replace(carry=carry, inputs=inputs)
            return scanned(laid_out, first=first, keep=self._keep)
        numbers = range(int(first), len(jax.tree.leaves(inputs)[0]))
        carry, kept = self._walked(args, static, (carry, inputs), numbers, on_step)
        stacked = jax.tree.map(lambda *each: jnp.stack(each), *kept) if kept else None
        with compiling(self._what):
            return self._end(args, carry, stacked, **static)

    def _walked(
        self, args: Any, static: Any, start: Any, numbers: range, on_step: Watcher | None
    ) -> tuple[Any, list[Any]]:
        """(What is carried after the last step, what each step gave where that is kept)."""
        carry, inputs = start
        places = jax.tree.map(lambda leaf: leaf.sharding, carry)
        followed, before, kept = is_followed(), None, []
        counted: Bar[Any] | None = None
        try:
            for number in numbers:
                with compiling(self._what):
                    carry, visited, done = self._step(
                        args, carry, inputs, np.int32(number), **static
                    )
                carry = jax.tree.map(_in_place, carry, places)
                if self._keep:
                    kept.append(visited)
                if counted is None:  # the time that compiling took says nothing about the rest
                    counted = counter(self._what, total=len(numbers), unit="step")
                if followed and before is not None:
                    jax.block_until_ready(before)
                    counted.update()
                before = done
                if on_step is not None:
                    on_step(number - numbers.start + 1, visited)
            if followed and counted is not None:
                jax.block_until_ready(before)
                counted.update()
        finally:
            if counted is not None:
                counted.close()
        return carry, kept

    def _cache_size(self) -> int:
        """How many programs of a step there are, as of a function that is compiled by jax."""
        return self._step._cache_size()  # type: ignore[attr-defined,no-any-return]


def stepping(
    what: str,
    *,
    static_argnames: str | Sequence[str] = (),
    keep: bool = False,
    donate: bool = False,
) -> Callable[[Callable[..., Steps]], Stepping]:
    """A function that lays a walk out as `Steps` becomes one that walks, see `Stepping`.

    what: is done, for bars. static_argnames: keywords of the function that are part of the
    programs. keep: hand what all steps gave, stacked, to the walk's `end`. donate: take each step
    in the memory of the one before; for what is carried that is large.
    """
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)
    return lambda lay_out: Stepping(lay_out, what, names, keep, donate)


def _in_place(leaf: Array, place: jax.sharding.Sharding) -> Array:
    """The same array where it was before the step: elsewhere the next would be another program."""
    if leaf.sharding.is_equivalent_to(place, leaf.ndim):
        return leaf
    return jax.device_put(leaf, place)


def _of_jax(leaf: Any) -> Any:
    return jnp.asarray(leaf) if isinstance(leaf, np.ndarray) else leaf
