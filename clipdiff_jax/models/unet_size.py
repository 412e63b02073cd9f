"""How large a UNet is, without making one."""

import dataclasses

import jax
import jax.numpy as jnp

from clipdiff_jax.models.unet import UNet, UNetConfig


def num_params(config: UNetConfig, size: int) -> int:
    """Parameters of the network, counted without allocating them."""
    network = UNet(dataclasses.replace(config, remat=False))
    cond = {}
    if config.num_classes is not None:
        cond["classes"] = jnp.zeros((1,), jnp.int32)
    if config.pooled_width is not None:
        cond["pooled"] = jnp.zeros((1, config.pooled_width))
    if config.time_ids is not None:
        cond["time_ids"] = jnp.zeros((1, config.time_ids))
    if config.context_width is not None:
        cond["context"] = jnp.zeros((1, 1, config.context_width))
    x, t = jnp.zeros((1, size, size, config.in_channels)), jnp.zeros((1,), jnp.int32)
    shapes = jax.eval_shape(lambda key: network.init(key, x, t, cond), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
