"""Convolutions whose gradients are as quick inside of a loop as outside.

XLA's CPU compiler turns convolutions into the layout of its quick kernel, NHWC by HWIO, but does so
in the outermost program only: in the body of a loop one that is laid out otherwise goes through a
plain loop nest, some ten times slower. Forward convolutions have that layout; both gradients, as
jax derives them, do not. Here the derivative

    d conv(x, w) = conv(dx, w) + conv(x, dw)

is written with axes turned so that what jax makes of it backwards does: convolutions of the
cotangent g with w, and of x with g, in NHWC by HWIO. On other platforms all is left to XLA.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from clipdiff_jax.core.compilation import target

_Pairs = tuple[tuple[int, int], ...]
_PLAIN = ("NHWC", "HWIO", "NHWC")
# For the gradient of x jax swaps O and I of the kernel; for that of the kernel, N and C of x and of
# the output, which takes the kernel's place, and O and I of the kernel, which comes out. Both give
# `_PLAIN`.
_OF_X = ("NHWC", "HWOI", "NHWC")
_OF_KERNEL = ("CHWN", "IHWO", "HWNC")


def convolve(
    x: Float[Array, "b ... c"],
    kernel: Float[Array, "... i d"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> Float[Array, "b ... d"]:
    """`jax.lax.conv_general_dilated`, quick backwards where it is NHWC by HWIO without dilation or
    groups. Takes its options, and can be differentiated as it can, in every mode."""
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, options["dimension_numbers"])
    plain = x.ndim == 4 and numbers == lax.conv_dimension_numbers(x.shape, kernel.shape, _PLAIN)
    dilations = (options.get("lhs_dilation"), options.get("rhs_dilation"))
    undilated = all(set(dilation or (1,)) == {1} for dilation in dilations)
    if target() != "cpu" or not plain or not undilated or options.get("feature_group_count", 1) > 1:
        return lax.conv_general_dilated(x, kernel, strides, padding, **options)
    if isinstance(padding, str):
        padding = tuple(lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], strides, padding))
    pairs = tuple((int(low), int(high)) for low, high in padding)
    return _convolve(x, kernel, tuple(strides), pairs, options.get("precision"))


Conv = functools.partial(nn.Conv, conv_general_dilated=convolve)  # flax's layer by `convolve`


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _convolve(
    x: Array, kernel: Array, strides: tuple[int, ...], padding: _Pairs, precision: Any
) -> Array:
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=_PLAIN, precision=precision
    )


def _derivative(
    strides: tuple[int, ...],
    padding: _Pairs,
    precision: Any,
    primals: tuple[Array, Array],
    tangents: tuple[Array | SymbolicZero, Array | SymbolicZero],
) -> tuple[Array, Array]:
    conv = functools.partial(
        lax.conv_general_dilated, window_strides=strides, padding=padding, precision=precision
    )
    (x, kernel), (dx, d_kernel) = primals, tangents
    y = _convolve(x, kernel, strides, padding, precision)
    parts = []
    if not isinstance(dx, SymbolicZero):
        parts.append(conv(dx, kernel.transpose(0, 1, 3, 2), dimension_numbers=_OF_X))
    if not isinstance(d_kernel, SymbolicZero):
        turned = conv(
            x.transpose(3, 1, 2, 0), d_kernel.transpose(2, 0, 1, 3), dimension_numbers=_OF_KERNEL
        )
        parts.append(turned.transpose(2, 0, 1, 3))
    return y, sum(parts[1:], parts[0])


_convolve.defjvp(_derivative, symbolic_zeros=True)
