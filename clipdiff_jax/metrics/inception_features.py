"""The features of FID, KID, precision and recall: Inception, and the resize in front of it.

The resize is part of the metric: FIDs of the same pictures by two resizes differ by whole points
(Parmar et al. 2022, arXiv 2104.11222). Both that are in use are here.

    clean     bicubic and anti-aliased, in float32, each channel by itself; clipped to [0, 255];
              then (x - 128) / 128. As clean-fid does it, whose numbers are the better ones.
    pytorch   bilinear between the four nearest pixels, which skips pixels when it reduces; then
              2 x / 255 - 1. As pytorch-fid does it, for comparison with older papers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8
from PIL import Image

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import Params
from clipdiff_jax.metrics.features import FeatureNetwork
from clipdiff_jax.models.inception import IMAGE_SIZE, SMALLEST, Inception
from clipdiff_jax.weights.errors import WeightsError
from clipdiff_jax.weights.layouts.inception import TABLE
from clipdiff_jax.weights.params import fingerprint, on_device
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import import_params

FILE = "pt_inception-2015-12-05-6726825d.pth"
PUBLISHED = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE}"
_BICUBIC = Image.Resampling.BICUBIC
CLASSES = 1008  # of the classifier in the published file; torchvision's networks have 1000


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class InceptionFeatures:
    """FID's Inception without its classifier."""

    params: Params = field(repr=False)

    def embed(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        """Pictures as `clean_resize` or `pytorch_resize` prepare them -> features."""
        return run(Inception(), self.params, images)


def load_inception(path: str | Path, *, resize: str = "clean") -> FeatureNetwork:
    """Loads the published weights (`PUBLISHED`) as the network of `compute_features`.

    Raises `ValueError` for an unknown `resize`, and `WeightsError` or `ConvertError` for a file
    that is missing, damaged or another network, such as torchvision's.
    """
    if resize not in RESIZES:
        raise ValueError(
            f"resize must be one of {', '.join(RESIZES)}, got '{resize}'.{nearest(resize, RESIZES)}"
        )
    try:
        tensors = open_tensors(path)
    except WeightsError as error:
        raise WeightsError(f"{error} Inception's weights are published at {PUBLISHED}") from error
    classes = len(tensors.get("fc.bias", ()))
    if classes != CLASSES or any(name.startswith("AuxLogits.") for name in tensors):
        raise WeightsError(
            f"'{path}' is not FID's Inception: expected {CLASSES} classes and no auxiliary "
            f"classifier, got {classes}. Distances by another network mean something else; FID's "
            f"weights are published at {PUBLISHED}"
        )
    model = InceptionFeatures(import_params(TABLE, tensors, inception_shapes(), place=on_device))
    name = f"inception-{fingerprint(model.params)}-{resize}"
    return FeatureNetwork(name, RESIZES[resize], InceptionFeatures.embed, model)


def inception_shapes() -> Params:
    """The network's parameters as shapes."""
    pixels = jnp.zeros((1, SMALLEST, SMALLEST, 3))
    return jax.eval_shape(lambda: Inception().init(jax.random.key(0), pixels)["params"])


def clean_resize(
    image: UInt8[np.ndarray, "h w 3"], size: int = IMAGE_SIZE
) -> Float32[np.ndarray, "size size 3"]:
    """clean-fid's; the aspect ratio is not kept."""
    shape = (size, size)
    channels = [
        Image.fromarray(image[..., channel].astype(np.float32)).resize(shape, _BICUBIC)
        for channel in range(3)
    ]
    levels = np.stack([np.asarray(channel) for channel in channels], axis=-1).clip(0, 255)
    return (levels - np.float32(128)) / np.float32(128)


def pytorch_resize(
    image: UInt8[np.ndarray, "h w 3"], size: int = IMAGE_SIZE
) -> Float32[np.ndarray, "size size 3"]:
    """pytorch-fid's: half-pixel centres, corners not aligned; the aspect ratio is not kept."""
    levels = image.astype(np.float32) / np.float32(255)
    resized = _bilinear(_bilinear(levels, size, axis=0), size, axis=1)
    return 2 * resized - np.float32(1)


def _bilinear(levels: Float32[np.ndarray, "h w 3"], size: int, axis: int) -> np.ndarray:
    length = levels.shape[axis]
    scale = np.float32(length / size)
    place = np.maximum(scale * (np.arange(size, dtype=np.float32) + np.float32(0.5)) - 0.5, 0)
    low = np.minimum(place.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    weight = (place - low).astype(np.float32).reshape(shape)
    return levels.take(low, axis) * (1 - weight) + levels.take(high, axis) * weight


RESIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "clean": clean_resize,
    "pytorch": pytorch_resize,
}
