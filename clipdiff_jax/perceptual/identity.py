"""The identity loss: the face should stay the same person, as a face recogniser sees it.

    L_id = 1 - <h(generated), h(reference)>                                               (19)

with h the L2-normalised embedding of ArcFace (Deng et al. 2019, arXiv 1801.07698), looked at
through the crop that DiffusionCLIP (Kim et al. 2022, arXiv 2110.02711, eq. 5) inherits from
pixel2style2pixel: rows 35 to 223 and columns 32 to 220 of a 256-pixel aligned face, average-pooled
to the 112 pixels ArcFace was trained at.

`FaceEncoder` is h: a loaded ArcFace as one object. `identity_loss` takes any function in its place.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.images import made_images
from clipdiff_jax.models.arcface import ArcFace, ArcFaceConfig, init_params
from clipdiff_jax.models.clip import unit
from clipdiff_jax.weights.layouts.arcface import TABLE
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import import_params

ROWS, COLUMNS, REFERENCE_SIZE = (35, 223), (32, 220), 256
ARCFACE_SIZE = 112


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class FaceEncoder:
    """A loaded ArcFace; `dtype` is what the network computes in."""

    config: ArcFaceConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def embed(self, faces: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """Aligned faces in [-1, 1] of the network's size -> embeddings, not normalised."""
        return run(ArcFace(self.config, self.dtype), self.params, made_images(faces))


def load_face(path: str | Path, *, dtype: DType = jnp.float32) -> FaceEncoder:
    """Loads the public IR-SE50 weights, `model_ir_se50.pth`.

    Raises `WeightsError` or `ConvertError` for a file that is missing, damaged or something else.
    """
    config = ArcFaceConfig()
    shapes = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    params = import_params(TABLE, open_tensors(path), shapes, place=on_device)
    return FaceEncoder(config, params, dtype)


def identity_loss(
    embed_faces: Callable[[Array], Array],
    generated: Float[Array, "b h w 3"],
    reference: Float[Array, "b h w 3"],
) -> Float[Array, " b"]:
    """Eq. 19 for each pair; no gradient reaches `reference`.

    embed_faces: [B, 112, 112, 3] in [-1, 1] -> [B, D], normalised here.
    """
    after = unit(embed_faces(face_crop(generated)))
    before = unit(embed_faces(face_crop(jax.lax.stop_gradient(reference))))
    return 1 - jnp.sum(after * jax.lax.stop_gradient(before), axis=-1)


def face_crop(images: Float[Array, "b h w c"]) -> Float[Array, "b 112 112 c"]:
    """The face region of aligned faces of any size, average-pooled to ArcFace's size."""
    top, bottom = _scaled(ROWS, images.shape[1])
    left, right = _scaled(COLUMNS, images.shape[2])
    face = images[:, top:bottom, left:right]
    rows = _pooling(face.shape[1], ARCFACE_SIZE)
    columns = _pooling(face.shape[2], ARCFACE_SIZE)
    return jnp.einsum("bhwc,Hh,Ww->bHWc", face, rows, columns)


def _scaled(span: tuple[int, int], size: int) -> tuple[int, int]:
    start, stop = (round(edge * size / REFERENCE_SIZE) for edge in span)
    return start, stop


def _pooling(size: int, out: int) -> Float[np.ndarray, "out size"]:
    """Adaptive average pooling: output i averages inputs floor(i r) to ceil((i + 1) r)."""
    weights = np.zeros((out, size), np.float32)
    for i in range(out):
        start, stop = i * size // out, -((i + 1) * size // -out)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
