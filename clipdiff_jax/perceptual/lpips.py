"""LPIPS: how different two pictures look, as features of a classifier see them.

With f_l the features of layer l of a network for image classification, scaled to unit length at
each place, and w_l >= 0 learned from what people call similar,

    d(x, y) = sum over l of mean over places of sum over channels of w_l (f_l(x) - f_l(y))^2   (1)

(Zhang et al. 2018, arXiv 1801.03924, eq. 1; version 0.1 of their weights.) Pictures in [-1, 1] are
first normalised as the networks were trained, `SHIFT` and `SCALE`.

`Lpips` is a loaded one as one object; `lpips` is the equation, for any features and weights.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import Params
from clipdiff_jax.data.images import Pictures, as_pair
from clipdiff_jax.models.alexnet import AlexNet, AlexNetConfig
from clipdiff_jax.models.vgg import VGG, VGGConfig
from clipdiff_jax.weights.layouts.lpips import ALEXNET, HEADS, vgg_table
from clipdiff_jax.weights.params import on_device
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, import_params

Features = Callable[[Array], tuple[Array, ...]]
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
EPSILON = 1e-10
Config = AlexNetConfig | VGGConfig
NETS: dict[str, Config] = {"alex": AlexNetConfig(), "vgg": VGGConfig()}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Lpips:
    """A loaded LPIPS. `network` are the parameters of AlexNet or VGG, `heads` are `lin0`, ..."""

    config: Config = field(metadata={"static": True})
    network: Params = field(repr=False)
    heads: Params = field(repr=False)

    def distance(
        self,
        images: Pictures,
        references: Pictures,
    ) -> Float[Array, " b"]:
        """The distance of each pair of pictures (see `data.images.as_images`), eq. 1.

        Raises `ValueError` for pictures too small for the network or of different shapes.
        """
        x, y = as_pair(images, references)
        if x.shape != y.shape:
            raise ValueError(f"pictures of shape {x.shape} against {y.shape}")
        height, width = x.shape[1:3]
        if min(height, width) < self.config.smallest:
            raise ValueError(
                f"LPIPS with {type(self.config).__name__.removesuffix('Config')} takes pictures "
                f"of {self.config.smallest} pixels per side or more, got {height}x{width}"
            )
        return _distance(self, x, y)


def load_lpips(network_file: str | Path, heads_file: str | Path, net: str = "alex") -> Lpips:
    """Loads LPIPS, version 0.1, from public weights.

    Args:
      network_file: torchvision's `alexnet-owt-7be5be79.pth` or `vgg16-397923af.pth`.
      heads_file: `alex.pth` or `vgg.pth` of the lpips package, in `lpips/weights/v0.1`.
      net: which of the two networks; people report "alex", and optimise "vgg".

    Raises `WeightsError` or `ConvertError` for a file that is missing, damaged or something else,
    `ValueError` for another `net`.
    """
    if net not in NETS:
        raise ValueError(f"net must be one of {', '.join(NETS)}, got {net!r}.{nearest(net, NETS)}")
    return import_lpips(NETS[net], open_tensors(network_file), open_tensors(heads_file))


def import_lpips(
    config: Config, network: Mapping[str, np.ndarray], heads: Mapping[str, np.ndarray]
) -> Lpips:
    """LPIPS of a network of this config, from the tensors of the two files.

    Raises `ConvertError` for tensors that do not fit.
    """
    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    lengths = {
        f"lin{layer}": jax.ShapeDtypeStruct((width,), jnp.float32)
        for layer, width in enumerate(config.widths)
    }
    params = import_params(_table(config), network, shapes, place=on_device)
    return Lpips(config, params, import_params(HEADS, heads, lengths, place=on_device))


def init_params(config: Config, key: Key[Array, ""]) -> Params:
    """New parameters of the network (float32)."""
    size = config.smallest
    return _network(config).init(key, jnp.zeros((1, size, size, 3)))["params"]


def lpips(
    features: Features,
    weights: Sequence[Float[Array, " _"]],
    images: Float[Array, "b h w 3"],
    references: Float[Array, "b h w 3"],
) -> Float[Array, " b"]:
    """Eq. 1 for each pair; symmetric, 0 for equal pictures.

    features: [B, H, W, 3], normalised -> the layers, each [B, H_l, W_l, C_l].
    weights: w_l, one for each layer.
    """
    shift, scale = jnp.array(SHIFT), jnp.array(SCALE)
    ours, theirs = (features((picture - shift) / scale) for picture in (images, references))
    terms = [
        jnp.mean(jnp.sum(weight * jnp.square(_unit(x) - _unit(y)), axis=-1), axis=(1, 2))
        for weight, x, y in zip(weights, ours, theirs, strict=True)
    ]
    return jnp.sum(jnp.stack(terms), axis=0)


def _unit(x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Unit length at each place; a place where nothing is active stays zero, gradient included."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    active = squared > 0
    length = jnp.where(active, jnp.sqrt(jnp.where(active, squared, 1.0)), 0.0)
    return x / (length + EPSILON)


@jax.jit
def _distance(model: Lpips, images: Array, references: Array) -> Array:
    features = functools.partial(run, _network(model.config), model.network)
    weights = [model.heads[f"lin{layer}"] for layer in range(len(model.heads))]
    return lpips(features, weights, images, references)


def _network(config: Config) -> nn.Module:
    return AlexNet(config) if isinstance(config, AlexNetConfig) else VGG(config)


def _table(config: Config) -> Table:
    return ALEXNET if isinstance(config, AlexNetConfig) else vgg_table(config)
