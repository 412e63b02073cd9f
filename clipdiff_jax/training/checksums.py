"""A checksum for every array of a pytree: equal numbers, equal checksums, wherever they lie.

Each element's bits are mixed with its place in the array by a function that no two values share
(a bijection of 32-bit words), and the results are added modulo 2^32. So one changed element always
changes the sum, many do so but for one case in 2^32, and neither devices nor shards nor the order
of addition matter. It is computed where the array lies, in one pass over its memory.
"""

import math
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from clipdiff_jax.core.types import DType, Params

# Odd factors and shifts of a mixer of 32-bit words, found by search (C. Wellons, hash-prospector).
_PLACE, _FIRST, _SECOND = 0x9E3779B9, 0x21F0AAAD, 0xD35A2D97
_CHUNK = 2**22  # elements mixed at once on the host
Words = TypeVar("Words", Array, np.ndarray)


def tree_checksums(tree: Params) -> dict[str, int]:
    """path -> checksum of every array, each computed on the devices that hold it."""
    # One after another: programs that wait for each other's devices may not be many at once.
    return {name: int(_checksum(leaf)) for name, leaf in named_leaves(tree).items()}


def host_checksum(array: np.ndarray) -> int:
    """The same of an array on the host, without a device."""
    words = np.ascontiguousarray(array).reshape(-1)
    words = words.view(_word(words.dtype))
    total = 0
    for begin in range(0, words.size, _CHUNK):
        part = words[begin : begin + _CHUNK].astype(np.uint32)
        place = np.arange(begin, begin + part.size, dtype=np.uint64).astype(np.uint32)
        total += int(_mixed(part, place).sum(dtype=np.uint64))
    return total % 2**32


def not_finite(tree: Params) -> list[str]:
    """The paths of the arrays with a NaN or an infinity among their numbers."""
    floats = {
        name: leaf
        for name, leaf in named_leaves(tree).items()
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    return [name for name, leaf in floats.items() if not bool(_finite(leaf))]


def named_leaves(tree: Params) -> dict[str, Any]:
    """path -> array, for trees of tuples and for the dictionaries that are read back."""
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@jax.jit
def _finite(array: Array) -> Array:
    return jnp.isfinite(array).all()


@jax.jit
def _checksum(array: Array) -> Array:
    bits = array.astype(jnp.uint8) if array.dtype == jnp.bool_ else array
    words = jax.lax.bitcast_convert_type(bits, _word(bits.dtype))
    # By axes, not in a row: a reshaped array would have to leave its shards.
    place = jnp.zeros(words.shape, jnp.uint32)
    for axis in range(words.ndim):
        step = np.uint32(math.prod(words.shape[axis + 1 :]) % 2**32)
        place += jax.lax.broadcasted_iota(jnp.uint32, words.shape, axis) * step
    return _mixed(words.astype(jnp.uint32), place).sum(dtype=jnp.uint32)


def _mixed(bits: Words, place: Words) -> Words:
    x = bits ^ (place * np.uint32(_PLACE))
    x = (x ^ (x >> np.uint32(16))) * np.uint32(_FIRST)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(_SECOND)
    return x ^ (x >> np.uint32(15))


def _word(dtype: DType) -> np.dtype[Any]:
    """The unsigned type whose words such numbers are read as; two for each of 8 bytes."""
    return np.dtype({1: "uint8", 2: "uint16"}.get(np.dtype(dtype).itemsize, "uint32"))
