"""Small pieces shared by the convolutional networks: time embedding, resampling, patches.

Images are NHWC. Parameters are float32; `dtype` is what the layers compute in.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Float, Num

from clipdiff_jax.models.convolution import Conv

Dtype = jax.typing.DTypeLike


def sinusoid(
    t: Num[Array, " b"], width: int, order: Literal["sin_cos", "cos_sin"], shift: float = 0.0
) -> Float[Array, "b width"]:
    """Sinusoidal embedding of time indices (Vaswani et al. 2017; DDPM, Ho et al. 2020).

    `freq_i = exp(-ln(10^4) i / (width/2 - shift))`. DDPM uses `sin_cos` with shift 1; the
    guided-diffusion family and Karlo use `cos_sin` with shift 0. Raises `ValueError` if `width` is
    odd.
    """
    if width % 2:
        raise ValueError(f"the width of a sinusoidal embedding must be even, got {width}")
    half = width // 2
    frequency = jnp.exp(-jnp.log(1e4) * jnp.arange(half, dtype=jnp.float32) / (half - shift))
    angle = t.astype(jnp.float32)[:, None] * frequency
    parts = (jnp.sin(angle), jnp.cos(angle))
    return jnp.concatenate(parts if order == "sin_cos" else parts[::-1], axis=-1)


def space_to_depth(x: Float[Array, "b h w c"], patch: int) -> Float[Array, "b h2 w2 c2"]:
    """Folds each `patch` x `patch` square of pixels into channels."""
    return rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=patch, q=patch)


def depth_to_space(x: Float[Array, "b h w c"], patch: int) -> Float[Array, "b h2 w2 c2"]:
    """The inverse of `space_to_depth`."""
    return rearrange(x, "b h w (p q c) -> b (h p) (w q) c", p=patch, q=patch)


def average_pool(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Halves the resolution by the mean of 2 x 2 squares."""
    return nn.avg_pool(x, (2, 2), (2, 2))


def nearest_upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
    """Doubles the resolution by repeating pixels."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


class Downsample(nn.Module):
    """Halves the resolution with a 3 x 3 convolution of stride 2.

    `padding="right"` pads right and bottom by one (DDPM); `"both"` pads every side
    (guided-diffusion).
    """

    channels: int
    padding: Literal["right", "both"]
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 d"]:
        pad = (0, 1) if self.padding == "right" else (1, 1)
        return Conv(self.channels, (3, 3), 2, padding=(pad, pad), dtype=self.dtype, name="conv")(x)


class Upsample(nn.Module):
    """Doubles the resolution: nearest neighbour, then a 3 x 3 convolution.

    size: (height, width) that the doubled map is cut to; None keeps all of it.
    """

    channels: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], size: tuple[int, int] | None = None
    ) -> Float[Array, "b h2 w2 d"]:
        x = nearest_upsample(x)
        if size is not None and x.shape[1:3] != size:
            x = x[:, : size[0], : size[1]]
        return Conv(self.channels, (3, 3), dtype=self.dtype, name="conv")(x)


class TimeEmbedding(nn.Module):
    """Sinusoid -> dense -> SiLU -> dense, [B] -> [B, width]."""

    sinusoid_width: int
    width: int
    order: Literal["sin_cos", "cos_sin"]
    shift: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, t: Num[Array, " b"]) -> Float[Array, "b width"]:
        h = sinusoid(t, self.sinusoid_width, self.order, self.shift).astype(self.dtype)
        h = nn.silu(nn.Dense(self.width, dtype=self.dtype, name="dense_0")(h))
        return nn.Dense(self.width, dtype=self.dtype, name="dense_1")(h)
