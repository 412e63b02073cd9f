"""LoRA (Hu et al. 2021, arXiv 2106.09685): a change of low rank beside the kernels of a network.

    y = W x + s B (A x)                                                                      (1)

A is a layer like W with `rank` outputs, B mixes those at each place into the outputs of W. B starts
at zero, so that a change starts as none. The strength s is one number or one for each picture.

There are two ways to add it: `beside` while the network runs, which leaves W as it is and takes a
strength for each picture; or into W itself, by `merged`.
"""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.prediction import match
from clipdiff_jax.models.spatial_transformer import TransformerBlock

Strength = float | Float[Array, "..."]  # of all pictures, or [B]
KERNEL = "kernel"


def init_lora(params: Params, rank: int, key: Key[Array, ""], only: str = "") -> Params:
    """A and B (`down`, `up`, float32) for every kernel of `params` whose path fits.

    Args:
      params: of the network; shapes are enough.
      rank: of the change.
      key: of A, which is drawn as Flax draws kernels.
      only: regex over paths such as "mid_attn/q/kernel"; "" takes all.

    Raises `ValueError` where nothing fits.
    """
    kernels = {
        path: kernel
        for path, kernel in flatten_dict(params).items()
        if path[-1] == KERNEL and re.search(only, "/".join(path))
    }
    if not kernels:
        raise ValueError(f"no kernel of the network has a path that fits {only!r}")
    lora: dict[tuple[str, ...], Array] = {}
    for index, (path, kernel) in enumerate(sorted(kernels.items())):
        *others, inputs, outputs = kernel.shape
        layers = others if kernel.ndim == 3 else []  # of a stack that is scanned
        fan_in = inputs * (1 if kernel.ndim == 3 else math.prod(others))
        drawn = jax.random.normal(jax.random.fold_in(key, index), (*others, inputs, rank))
        lora[(*path[:-1], "down")] = drawn / math.sqrt(fan_in)
        lora[(*path[:-1], "up")] = jnp.zeros((*layers, rank, outputs))
    return unflatten_dict(lora)


def beside(
    changes: Sequence[tuple[Params, Strength]],
) -> contextlib.AbstractContextManager[None]:
    """While it is open, networks run with `changes`, pairs of a LoRA and its strength."""
    found = [(flatten_dict(lora), strength) for lora, strength in changes]
    block: Array | None = None  # the number of the block at work, in a stack of them

    def intercept(
        call: Callable[..., Any], inputs: Any, options: Any, context: nn.module.InterceptorContext
    ) -> Any:
        nonlocal block
        layer = context.module
        if context.method_name != "__call__":
            return call(*inputs, **options)
        if isinstance(layer, TransformerBlock):
            outer, block = block, inputs[-1]
            try:
                return call(*inputs, **options)
            finally:
                block = outer
        y = call(*inputs, **options)
        for lora, strength in found:
            down, up = (lora.get((*layer.path, name)) for name in ("down", "up"))
            if down is None or up is None:
                continue
            if up.ndim == 3:
                down, up = down[block], up[block]
            assert isinstance(layer, (nn.Dense, nn.Conv))
            narrow = layer.clone(parent=None, features=down.shape[-1], use_bias=False)
            h = narrow.apply({"params": {KERNEL: down}}, *inputs)
            y += match(jnp.asarray(strength, y.dtype), y) * (h @ up.astype(y.dtype))
        return y

    return nn.intercept_methods(intercept)


def merged(params: Params, lora: Params, strength: float | Float[Array, ""] = 1.0) -> Params:
    """W + s B A in float32 for the kernels that a LoRA changes; the others as they are."""
    changed = flatten_dict(params)
    flat = flatten_dict(lora)
    for path, down in flat.items():
        if path[-1] != "down":
            continue
        kernel = changed[(*path[:-1], KERNEL)]
        delta = strength * (down @ flat[(*path[:-1], "up")])
        changed[(*path[:-1], KERNEL)] = (kernel + delta).astype(kernel.dtype)
    return unflatten_dict(changed)
