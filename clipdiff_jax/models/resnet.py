"""CLIP's convolutional image tower (Radford et al., 2021, section 2.4).

A ResNet of bottleneck blocks with three changes: a stem of three convolutions (ResNet-D), an
average pool before every strided convolution (anti-aliasing), and attention in place of the last
pooling. Beyond the paper, for small images and small machines: group norm, so that training from
scratch needs no running statistics; a space-to-depth stem; a dense last pooling, for pictures in
which everything has its place; any number of stages; any expansion.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, reduce
from jaxtyping import Array, Float

from clipdiff_jax.core.types import DType
from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.convolution import Conv

STEM_STRIDE = 4


@dataclass(frozen=True)
class ModifiedResNetConfig:
    """The convolutional tower; the defaults are RN50.

    Attributes:
      image_size: pixels per side.
      width: channels inside the first stage's blocks; each further stage doubles them.
      depths: blocks of each stage.
      pool: "attention" (the paper's), or "dense": one projection of all positions' channels.
      heads: of the attention pool; OpenAI's models have one per 64 channels.
      expansion: a block's output channels over its inner ones.
      stem: "convolutions" (the paper's), or "space_to_depth": 4x4 pixels into channels, then one
        convolution; both reduce the resolution four times.
      norm: "batch" normalises with statistics kept as fixed parameters, for loaded weights;
        "group" with those of groups of channels of each image, for training.
      norm_groups: the number of groups of "group".
    """

    image_size: int = 224
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    pool: Literal["attention", "dense"] = "attention"
    heads: int = 32
    expansion: int = 4
    stem: Literal["convolutions", "space_to_depth"] = "convolutions"
    norm: Literal["batch", "group"] = "batch"
    norm_groups: int = 32

    def __post_init__(self) -> None:
        if self.image_size % self.reduction:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of {self.reduction}, by which "
                f"{len(self.depths)} stages reduce the resolution"
            )
        if self.pool == "attention" and self.out_channels % self.heads:
            raise ValueError(f"{self.out_channels} channels do not split into {self.heads} heads")

    @property
    def reduction(self) -> int:
        """How many pixels, along a side, one position of the last stage stands for."""
        return STEM_STRIDE * 2 ** (len(self.depths) - 1)

    @property
    def out_channels(self) -> int:
        """Channels of the last stage."""
        return self.width * self.expansion * 2 ** (len(self.depths) - 1)


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics, which no gradient reaches."""

    dtype: DType | None = None
    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        mean = jax.lax.stop_gradient(self.param("mean", nn.initializers.zeros, shape, jnp.float32))
        var = jax.lax.stop_gradient(self.param("var", nn.initializers.ones, shape, jnp.float32))
        factor = scale * jax.lax.rsqrt(var + self.eps)
        return x * factor.astype(x.dtype) + (bias - mean * factor).astype(x.dtype)


def _norm(config: ModifiedResNetConfig, dtype: DType | None, name: str) -> nn.Module:
    if config.norm == "batch":
        return FrozenBatchNorm(dtype, name=name)
    return nn.GroupNorm(config.norm_groups, epsilon=1e-5, dtype=dtype, name=name)


def _conv3x3(features: int, dtype: DType | None, name: str, stride: int = 1) -> nn.Conv:
    # Explicit padding: "SAME" pads a strided convolution on the other side than the original.
    return Conv(
        features, (3, 3), (stride, stride), ((1, 1), (1, 1)),
        use_bias=False, kernel_init=nn.initializers.he_normal(), dtype=dtype, name=name,
    )  # fmt: skip


def _conv1x1(features: int, dtype: DType | None, name: str) -> nn.Dense:
    # As a matrix product: XLA's gradient of a 1x1 convolution is several times slower on CPUs.
    init = nn.initializers.he_normal()
    return nn.Dense(features, use_bias=False, kernel_init=init, dtype=dtype, name=name)


def _pool(x: Array, stride: int) -> Array:
    # A mean over reshaped axes: on CPUs XLA's reduce_window is ten times slower.
    if stride == 1:
        return x
    return reduce(x, "b (h p) (w q) c -> b h w c", "mean", p=stride, q=stride)


class Bottleneck(nn.Module):
    """1x1, 3x3, pool, 1x1 convolutions beside a shortcut that is pooled and projected."""

    config: ModifiedResNetConfig
    width: int
    stride: int
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        c, out = self.config, self.width * self.config.expansion
        y = _conv1x1(self.width, self.dtype, "conv1")(x)
        y = nn.relu(_norm(c, self.dtype, "norm1")(y))
        y = _conv3x3(self.width, self.dtype, "conv2")(y)
        y = _pool(nn.relu(_norm(c, self.dtype, "norm2")(y)), self.stride)
        y = _norm(c, self.dtype, "norm3")(_conv1x1(out, self.dtype, "conv3")(y))
        if self.stride > 1 or x.shape[-1] != out:
            x = _conv1x1(out, self.dtype, "shortcut_conv")(_pool(x, self.stride))
            x = _norm(c, self.dtype, "shortcut_norm")(x)
        return nn.relu(x + y)


class AttentionPool(nn.Module):
    """One attention query, from the mean over positions, reads all positions and the mean."""

    heads: int
    features: int
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        b, h, w, c = x.shape
        init = nn.initializers.normal(c**-0.5)
        x = x.reshape(b, h * w, c)
        x = jnp.concatenate([x.mean(axis=1, keepdims=True), x], axis=1)
        x = x + self.param("position_embedding", init, (h * w + 1, c), jnp.float32).astype(x.dtype)

        def project(name: str, y: Array) -> Array:
            y = nn.Dense(c, kernel_init=init, dtype=self.dtype, name=name)(y)
            return y.reshape(b, -1, self.heads, c // self.heads)

        y = attend(project("query", x[:, :1]), project("key", x), project("value", x))
        y = y.reshape(b, c)
        return nn.Dense(self.features, kernel_init=init, dtype=self.dtype, name="out")(y)


class ModifiedResNet(nn.Module):
    """Stem, stages of bottlenecks, attention pool; parameters `stage{i}_block{j}`."""

    config: ModifiedResNetConfig
    projection_dim: int
    remat: bool = False
    dtype: DType | None = None

    @nn.compact
    def __call__(self, pixels: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        c = self.config
        x = self._stem(pixels if self.dtype is None else pixels.astype(self.dtype))
        block = nn.remat(Bottleneck) if self.remat else Bottleneck
        for stage, depth in enumerate(c.depths):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"stage{stage}_block{index}"
                x = block(c, c.width * 2**stage, stride, self.dtype, name=name)(x)
        if c.pool == "attention":
            return AttentionPool(c.heads, self.projection_dim, self.dtype, name="pool")(x)
        x = x.reshape(x.shape[0], -1)
        return nn.Dense(self.projection_dim, dtype=self.dtype, name="projection")(x)

    def _stem(self, x: Array) -> Array:
        c = self.config
        if c.stem == "space_to_depth":
            x = rearrange(x, "b (h p) (w q) c -> b h w (p q c)", p=STEM_STRIDE, q=STEM_STRIDE)
            x = _conv3x3(c.width * c.expansion, self.dtype, "stem_conv1")(x)
            return nn.relu(_norm(c, self.dtype, "stem_norm1")(x))
        for i, features in enumerate((c.width // 2, c.width // 2, c.width), start=1):
            x = _conv3x3(features, self.dtype, f"stem_conv{i}", stride=2 if i == 1 else 1)(x)
            x = nn.relu(_norm(c, self.dtype, f"stem_norm{i}")(x))
        return _pool(x, 2)
