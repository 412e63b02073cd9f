"""Types that the whole package shares."""

from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from clipdiff_jax.core.config import ConfigError, nearest

Params = Any  # a pytree of arrays, in our models nested dictionaries of them
DType = jax.typing.DTypeLike
DTypeName = Literal["float32", "bfloat16"]  # what networks compute in, as a config writes it


def as_dtype(name: DTypeName) -> np.dtype[Any]:
    """The dtype that a config names. Raises `ConfigError` for one that networks do not run in."""
    names = get_args(DTypeName)
    if name not in names:
        raise ConfigError(
            f"dtype is {name!r}, expected one of {', '.join(names)}.{nearest(name, names)}"
        )
    return jnp.dtype(name)
