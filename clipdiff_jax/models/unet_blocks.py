"""The blocks that a `UNet` is made of, but for its spatial transformers."""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float

from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.layers import (
    Dtype,
    average_pool,
    depth_to_space,
    nearest_upsample,
)
from clipdiff_jax.models.unet_config import UNetConfig


def group_norm(config: UNetConfig, dtype: Dtype, name: str) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_groups, epsilon=config.norm_eps, dtype=dtype, name=name)


class ResBlock(nn.Module):
    """norm-SiLU-conv, time, norm-SiLU-dropout-conv, plus the shortcut.

    The last convolution starts at zero, so the block starts as its shortcut. A network that knows
    no time gives None for its embedding.
    """

    config: UNetConfig
    channels: int
    resample: Literal["none", "down", "up"] = "none"
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], emb: Float[Array, "b e"] | None, train: bool
    ) -> Float[Array, "b h2 w2 d"]:
        cfg = self.config
        h = nn.silu(group_norm(cfg, self.dtype, "norm_0")(x))
        if self.resample != "none":
            change = average_pool if self.resample == "down" else nearest_upsample
            h, x = change(h), change(x)
        h = Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_0")(h)
        norm = group_norm(cfg, self.dtype, "norm_1")
        if emb is None:
            h = norm(h)
        else:
            width = 2 * self.channels if cfg.scale_shift else self.channels
            time = nn.Dense(width, dtype=self.dtype, name="time")(nn.silu(emb))[:, None, None, :]
            if cfg.scale_shift:
                scale, shift = jnp.split(time, 2, axis=-1)
                h = norm(h) * (1 + scale) + shift
            else:
                h = norm(h + time)
        h = nn.Dropout(cfg.dropout, deterministic=not train)(nn.silu(h))
        zeros = nn.initializers.zeros_init()
        h = Conv(self.channels, (3, 3), kernel_init=zeros, dtype=self.dtype, name="conv_1")(h)
        if x.shape[-1] != self.channels:
            x = Conv(self.channels, (1, 1), dtype=self.dtype, name="shortcut")(x)
        return x + h


class AttentionBlock(nn.Module):
    """Self-attention over the pixels; context tokens, where given, are further keys and values.

    The keys are ordered [context, pixels], as in Karlo's decoder.
    """

    config: UNetConfig
    dtype: Dtype = jnp.float32
    level: int = -1

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b t d"] | None = None,
        context_mask: Bool[Array, "b t"] | None = None,
    ) -> Float[Array, "b h w c"]:
        batch, height, width, channels = x.shape
        count = self.config.heads_of(channels, self.level)

        def heads(tokens: Array, name: str) -> Array:
            out = nn.Dense(channels, dtype=self.dtype, name=name)(tokens)
            return rearrange(out, "b t (n d) -> b t n d", n=count)

        h = rearrange(group_norm(self.config, self.dtype, "norm")(x), "b h w c -> b (h w) c")
        q, k, v = heads(h, "q"), heads(h, "k"), heads(h, "v")
        mask = None
        if context is not None:
            k = jnp.concatenate([heads(context, "context_k"), k], axis=1)
            v = jnp.concatenate([heads(context, "context_v"), v], axis=1)
            if context_mask is not None:
                pixels = jnp.ones((batch, height * width), bool)
                mask = jnp.concatenate([context_mask, pixels], axis=1)[:, None, None, :]
        h = rearrange(attend(q, k, v, mask=mask), "b t n d -> b t (n d)")
        zeros = nn.initializers.zeros_init()
        h = nn.Dense(channels, kernel_init=zeros, dtype=self.dtype, name="out")(h)
        return x + rearrange(h, "b (h w) c -> b h w c", h=height)


class Refinement(nn.Module):
    """What is added to the output at full resolution, from the unfolded features, the output so far
    and the input: two convolutions with time between them, and a last one that starts at zero."""

    config: UNetConfig
    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "b h w c"],
        output: Float[Array, "b h2 w2 o"],
        image: Float[Array, "b h2 w2 i"],
        emb: Float[Array, "b e"],
    ) -> Float[Array, "b h2 w2 o"]:
        cfg, dtype, width = self.config, self.dtype, self.width
        h = Conv(width * cfg.patch**2, (1, 1), dtype=dtype, name="unfold")(features)
        h = jnp.concatenate([depth_to_space(h, cfg.patch), output, image.astype(dtype)], axis=-1)
        h = Conv(width, (3, 3), dtype=dtype, name="conv_0")(h)
        time = nn.Dense(2 * width, dtype=dtype, name="time")(nn.silu(emb))[:, None, None, :]
        scale, shift = jnp.split(time, 2, axis=-1)
        h = nn.silu(h * (1 + scale) + shift)
        h = nn.silu(Conv(width, (3, 3), dtype=dtype, name="conv_1")(h))
        zeros = nn.initializers.zeros_init()
        out = cfg.out_channels
        return Conv(out, (3, 3), kernel_init=zeros, dtype=dtype, name="conv_out")(h)
