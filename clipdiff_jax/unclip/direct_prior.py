"""The prior without diffusion, run.

Its parameters lie by name under "direct_prior".
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.models.direct_prior import DirectPrior, DirectPriorConfig
from clipdiff_jax.models.unclip import TextFeatures

NETWORK = "direct_prior"


def init_params(config: DirectPriorConfig, key: Array) -> dict[str, Any]:
    """New parameters (float32)."""
    c = config
    text = jnp.zeros((1, c.embedding_width)), jnp.zeros((1, c.text_length, c.hidden_width))
    return {NETWORK: DirectPrior(c).init(key, *text, jnp.ones((1, c.text_length), bool))["params"]}


@functools.partial(jax.jit, static_argnums=(0, 1))
def run_direct_prior(
    config: DirectPriorConfig, dtype: Any, params: Any, text: TextFeatures
) -> Float[Array, "b d"]:
    """Texts -> CLIP image embeddings, not normalised; nothing is drawn (ECLIPSE, section 3.2)."""
    network: Any = DirectPrior(config, dtype=dtype)
    variables = {"params": params[NETWORK]}
    z = network.apply(variables, text.embedding, text.hidden, text.mask)
    return network.apply(variables, z, method="restore")
