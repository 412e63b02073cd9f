"""What a program asks the matrix units to do, counted in the program as it is before compiling.

Only products of matrices and convolutions count: 2 FLOPs for each multiplication with its addition.
The body of a scan counts as often as it runs; what is recomputed in the backward pass counts again.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

# cuDNN's attention is one operation: two products forward, five backward, two of them again.
_ATTENTION = {"fwd": 2, "bwd": 5}


@dataclass
class Flops:
    """FLOPs by how they are computed.

    Attributes:
      by_kind: "half", "single" or "highest" -> FLOPs, see `chips.Chip`.
      unknown_loops: loops whose number of passes depends on data; their bodies count once.
    """

    by_kind: Counter[str] = field(default_factory=Counter)
    unknown_loops: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_kind.values())


def count_flops(jaxpr: core.ClosedJaxpr) -> Flops:
    """The FLOPs of one run of a traced program, on all devices together."""
    flops = Flops()
    _add(jaxpr.jaxpr, 1, flops)
    return flops


def _add(jaxpr: core.Jaxpr, times: int, flops: Flops) -> None:
    for eqn in jaxpr.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            flops.by_kind[_kind(eqn)] += times * _dot(eqn)
        elif name == "conv_general_dilated":
            flops.by_kind[_kind(eqn)] += times * _convolution(eqn)
        elif name.startswith("dot_product_attention_"):
            flops.by_kind["half"] += times * _attention(eqn)
        elif name == "scan":
            _add(params["jaxpr"].jaxpr, times * params["length"], flops)
        elif name == "cond":
            branches = [count_flops(branch) for branch in params["branches"]]
            most = max(branches, key=lambda one: one.total)
            flops.by_kind.update({kind: times * n for kind, n in most.by_kind.items()})
        else:
            flops.unknown_loops += name == "while"
            for inner in _inner(params):
                _add(inner, times, flops)


def _inner(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
    """The programs inside of an operation: of a call, a rematerialisation, a custom rule."""
    for name, value in params.items():
        if "jvp" in name or name in ("bwd", "fwd", "transpose"):  # rules of derivatives, not run
            continue
        for one in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(one, core.ClosedJaxpr):
                yield one.jaxpr
            elif isinstance(one, core.Jaxpr):
                yield one


def _kind(eqn: Any) -> str:
    if jnp.dtype(eqn.invars[0].aval.dtype).itemsize <= 2:
        return "half"
    precision = eqn.params.get("precision")
    each = precision if isinstance(precision, tuple) else (precision,)
    return "highest" if jax.lax.Precision.HIGHEST in each else "single"


def _dot(eqn: Any) -> int:
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.invars[0].aval.shape
    return 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _convolution(eqn: Any) -> int:
    """Products with the zeros between a dilated input's pixels are left out."""
    kernel, dims = eqn.invars[1].aval.shape, eqn.params["dimension_numbers"]
    taps = math.prod(kernel[axis] for axis in dims.rhs_spec[1:])  # channels and window
    spread = math.prod(eqn.params["lhs_dilation"])
    return 2 * math.prod(eqn.outvars[0].aval.shape) * taps // spread


def _attention(eqn: Any) -> int:
    """Of [B, T, H, D] queries and [B, S, H, D] keys."""
    batch, queries, heads, width = eqn.invars[0].aval.shape
    keys = eqn.invars[1].aval.shape[1]
    products = _ATTENTION["bwd" if "bwd" in eqn.primitive.name else "fwd"]
    return products * 2 * batch * heads * queries * keys * width
