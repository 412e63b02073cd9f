"""Random keys: one convention for all calls.

A call that draws takes `key=`: a typed key, an int as its seed, an old-style key of uint32, or one
typed key for each picture. Picture i of a single key uses `fold_in(key, i)`, so that a picture does
not depend on the batch it is in.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt32

from clipdiff_jax.core.checks import check_number

HIGHEST_SEED = 2**32 - 1
AnyKey = Key[Array, "..."] | UInt32[Array | np.ndarray, "*n 2"] | int | np.integer


def as_key(key: AnyKey) -> Key[Array, "..."]:
    """A typed key, or typed keys [N], of whatever a user gives for `key=`.

    Raises `ValueError` for a seed that is no whole number from 0 to 2^32 - 1 (of a larger one jax
    would take the lower 32 bits, unless 64-bit numbers are on), `TypeError` for what is no key.
    """
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, (jax.Array, np.ndarray)) and key.ndim:
        if key.dtype == jnp.uint32 and key.shape[-1] == 2:
            return jax.random.wrap_key_data(jnp.asarray(key))
        raise TypeError(f"key is an array {key.dtype}{list(key.shape)}, expected a key or a seed")
    try:
        seed = operator.index(key)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"key is {key!r}, expected a key or a whole number as its seed") from error
    if isinstance(key, (bool, np.bool_)):
        raise TypeError(f"key is {key!r}, expected a key or a whole number as its seed")
    check_number("seed", seed, low=0, high=HIGHEST_SEED)
    return jax.random.key(seed)


def picture_keys(key: AnyKey, indices: Int[Array, " n"]) -> Key[Array, " b"]:
    """A key for each picture, `fold_in(key, index)`; one that is given for each already is kept."""
    key = as_key(key)
    if key.ndim == 1:
        return key
    return jax.vmap(functools.partial(jax.random.fold_in, key))(indices)
