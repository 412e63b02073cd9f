"""The prior without diffusion, run and kept in a model folder.

Its parameters lie by name under "direct_prior".
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.config import from_dict, to_dict
from clipdiff_jax.models.direct_prior import DirectPrior, DirectPriorConfig
from clipdiff_jax.pipelines.unclip_networks import TextFeatures
from clipdiff_jax.weights import WeightsError, load_folder, save_folder

KIND = NETWORK = "direct_prior"


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


def save_direct_prior(
    path: str | Path, config: DirectPriorConfig, params: Any, clip: str, *, dtype: Any = None
) -> None:
    """Writes the model folder; `clip` is the fingerprint of the CLIP it was trained with.

    Floating-point arrays become `dtype`.
    """
    document = {"kind": KIND, "stage": to_dict(config), "clip": clip}
    save_folder(path, document, params, dtype)


def read_direct_prior(
    path: str | Path, *, param_dtype: Any = jnp.float32
) -> tuple[DirectPriorConfig, Any, str]:
    """(config, host parameters, fingerprint of the CLIP) of one of our own model folders.

    Raises `WeightsError` if the folder is missing, incomplete or of another kind.
    """
    document, params = load_folder(path, param_dtype)
    if document["kind"] != KIND:
        raise WeightsError(f"'{path}' holds a model of kind '{document['kind']}', not '{KIND}'")
    return from_dict(DirectPriorConfig, document["stage"]), params, document["clip"]
