"""How our models compute with a Flax network: a call of the network and its parameters."""

from typing import Any

from flax import linen as nn
from jaxtyping import Array, Key

from clipdiff_jax.core.types import Params


def run(network: nn.Module, params: Params, *inputs: Any, **options: Any) -> Any:
    """What the network returns with these parameters; it keeps no other variables.

    options: keywords of the network, and of Flax's `apply` (`method=`, `rngs=`).
    """
    return network.apply({"params": params}, *inputs, **options)


def dropout(key: Key[Array, ""] | None) -> dict[str, Any]:
    """Options of `run`: dropout acts where a key is given."""
    return {"train": key is not None, "rngs": None if key is None else {"dropout": key}}
