"""Types that the whole house shares."""

from typing import Any

import jax

Params = Any  # a pytree of arrays, in our models nested dictionaries of them
DType = jax.typing.DTypeLike
