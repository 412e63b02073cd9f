"""A face recogniser as a thing to hold: aligned faces in, embeddings of who they are out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.models.arcface import ArcFace, ArcFaceConfig
from clipdiff_jax.weights.layouts.arcface import TABLE
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import import_params


@dataclass(frozen=True, eq=False)
class FaceEncoder:
    """A loaded ArcFace. Arrays live in `params`; `dtype` is what the network computes in."""

    config: ArcFaceConfig
    params: Any = field(repr=False)
    dtype: Any = jnp.float32

    def embed(self, faces: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Aligned faces in [-1, 1] of the network's size -> embeddings, not normalised."""
        network: Any = ArcFace(self.config, self.dtype)
        return network.apply({"params": self.params}, faces)


def init_params(config: ArcFaceConfig, key: Array) -> Any:
    """New parameters (float32)."""
    return ArcFace(config).init(key, jnp.zeros((1, config.image_size, config.image_size, 3)))[
        "params"
    ]


def load_face(path: str | Path, *, dtype: Any = jnp.float32) -> FaceEncoder:
    """Loads the public IR-SE50 weights, `model_ir_se50.pth`.

    Raises WeightsError or ConvertError for a file that is missing, damaged or something else.
    """
    config = ArcFaceConfig()
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    params = import_params(TABLE, open_tensors(path), shapes)
    return FaceEncoder(config, jax.tree.map(jnp.asarray, params), dtype)
