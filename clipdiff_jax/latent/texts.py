"""Texts as a latent diffusion model sees them: the states of its CLIP towers, side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.clip import TextTransformer
from clipdiff_jax.models.latent import TextTower

Texts = str | Sequence[str]


class Embedded(NamedTuple):
    """What towers say of B texts: states of T tokens, and the last tower's pooled embedding."""

    context: Float[Array, "b t d"]
    pooled: Float[Array, "b p"] | None


def encode(
    towers: Sequence[TextTower],
    params: Sequence[Params],
    ids: Sequence[Int[Array | np.ndarray, "b t"]],
    dtype: DType,
) -> Embedded:
    """Token ids of each tower's tokenizer -> the states, float32.

    Attention is causal and padding is attended to, as the models were trained.
    """
    states: list[Array] = []
    embedding: Any = None
    for tower, of_tower, tokens in zip(towers, params, ids, strict=True):
        network = TextTransformer(
            tower.tower, tower.projection_dim, dtype=dtype, skip=tower.skip,
            norm_states=tower.final_norm,
        )  # fmt: skip
        embedding, hidden = run(network, of_tower, jnp.asarray(tokens))
        states.append(hidden.astype(jnp.float32))
    has_pooled = towers[-1].projection_dim is not None and embedding is not None
    pooled = embedding.astype(jnp.float32) if has_pooled else None
    return Embedded(jnp.concatenate(states, axis=-1), pooled)
