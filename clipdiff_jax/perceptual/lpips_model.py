"""LPIPS as a thing to hold: two batches of pictures in, how different each pair looks out."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.clip.model import check_floats
from clipdiff_jax.core.config import nearest
from clipdiff_jax.models.alexnet import AlexNet, AlexNetConfig
from clipdiff_jax.models.vgg import VGG, VGGConfig
from clipdiff_jax.perceptual.lpips import lpips
from clipdiff_jax.weights.layouts.lpips import ALEXNET, HEADS, vgg_table
from clipdiff_jax.weights.read import open_tensors
from clipdiff_jax.weights.tables import Table, import_params

Config = AlexNetConfig | VGGConfig
NETS: dict[str, Config] = {"alex": AlexNetConfig(), "vgg": VGGConfig()}


@dataclass(frozen=True, eq=False)
class Lpips:
    """A loaded LPIPS. `network` are the parameters of AlexNet or VGG, `heads` are `lin0`, ..."""

    config: Config
    network: Any = field(repr=False)
    heads: Mapping[str, Array] = field(repr=False)

    def distance(
        self,
        images: Float[Array | np.ndarray, "b h w 3"],
        references: Float[Array | np.ndarray, "b h w 3"],
    ) -> Float[Array, " b"]:
        """The distance of each pair of pictures in [-1, 1], see `perceptual.lpips`.

        Raises `ValueError` for pictures too small for the network, `TypeError` for integers.
        """
        for pictures in (images, references):
            check_floats(pictures)
        height, width = images.shape[1:3]
        if min(height, width) < self.config.smallest:
            raise ValueError(
                f"LPIPS with {type(self.config).__name__.removesuffix('Config')} takes pictures "
                f"of {self.config.smallest} pixels a side or more, got {height}x{width}"
            )
        return _distance(
            self.config, self.network, self.heads, jnp.asarray(images), jnp.asarray(references)
        )


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
    params = import_params(_table(config), network, shapes)
    linear = import_params(HEADS, heads, lengths)
    return Lpips(config, jax.tree.map(jnp.asarray, params), jax.tree.map(jnp.asarray, linear))


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


def init_params(config: Config, key: Array) -> Any:
    """New parameters of the network (float32)."""
    size = config.smallest
    return _network(config).init(key, jnp.zeros((1, size, size, 3)))["params"]


@functools.partial(jax.jit, static_argnums=0)
def _distance(config: Config, params: Any, heads: Any, images: Array, references: Array) -> Array:
    network: Any = _network(config)
    features = functools.partial(network.apply, {"params": params})
    weights = [heads[f"lin{layer}"] for layer in range(len(heads))]
    return lpips(features, weights, images, references)


def _network(config: Config) -> nn.Module:
    return AlexNet(config) if isinstance(config, AlexNetConfig) else VGG(config)


def _table(config: Config) -> Table:
    return ALEXNET if isinstance(config, AlexNetConfig) else vgg_table(config)
