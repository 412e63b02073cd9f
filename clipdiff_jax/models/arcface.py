"""IR-SE50: the face recogniser of the identity loss (ArcFace, Deng et al. 2019, arXiv 1801.07698).

A residual network of pre-normalised blocks with squeeze-and-excitation (Hu et al. 2018), 112 x 112
pixels in, 512 numbers out. It is only ever loaded, never trained here: batch norms use their
stored statistics.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.resnet import FrozenBatchNorm


@dataclass(frozen=True)
class ArcFaceConfig:
    """The defaults are IR-SE50.

    Attributes:
      image_size: pixels per side.
      width: channels of the stem and the first stage; each further stage doubles them.
      depths: blocks of each stage; the first of each halves the resolution.
      reduction: channels over the inner ones of squeeze-and-excitation.
      features: length of the embedding.
    """

    image_size: int = 112
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 14, 3)
    reduction: int = 16
    features: int = 512

    def __post_init__(self) -> None:
        if self.image_size % 2 ** len(self.depths):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of {2 ** len(self.depths)}"
            )


def _conv(features: int, dtype: DType | None, name: str, stride: int = 1) -> nn.Conv:
    return Conv(
        features, (3, 3), (stride, stride), ((1, 1), (1, 1)),
        use_bias=False, dtype=dtype, name=name,
    )  # fmt: skip


class PReLU(nn.Module):
    """max(x, 0) + slope min(x, 0), a slope for each channel."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        slope = self.param("slope", nn.initializers.constant(0.25), (x.shape[-1],), jnp.float32)
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


class Block(nn.Module):
    """norm, conv, PReLU, strided conv, norm, squeeze-and-excitation; plus a strided shortcut."""

    config: ArcFaceConfig
    width: int
    stride: int
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        y = FrozenBatchNorm(self.dtype, name="norm1")(x)
        y = PReLU(name="prelu")(_conv(self.width, self.dtype, "conv1")(y))
        y = _conv(self.width, self.dtype, "conv2", self.stride)(y)
        y = FrozenBatchNorm(self.dtype, name="norm2")(y)
        y = y * self._excitation(y)
        shortcut = x[:, :: self.stride, :: self.stride]
        if x.shape[-1] != self.width:
            dense = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="shortcut_conv")
            shortcut = FrozenBatchNorm(self.dtype, name="shortcut_norm")(dense(shortcut))
        return y + shortcut

    def _excitation(self, y: Array) -> Array:
        pooled = y.mean(axis=(1, 2), keepdims=True)
        inner = self.width // self.config.reduction
        down = nn.Dense(inner, use_bias=False, dtype=self.dtype, name="squeeze")
        up = nn.Dense(self.width, use_bias=False, dtype=self.dtype, name="excite")
        return nn.sigmoid(up(nn.relu(down(pooled))))


class ArcFace(nn.Module):
    """Aligned faces in [-1, 1] -> embeddings, not normalised.

    `ArcFace(config).apply({"params": p}, images)`: [B, 112, 112, 3] -> [B, 512]. Identity is the
    cosine of two embeddings. Raises `ValueError` for images of another size.
    """

    config: ArcFaceConfig = ArcFaceConfig()
    dtype: DType | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        c, size = self.config, self.config.image_size
        if images.shape[1:3] != (size, size):
            raise ValueError(f"ArcFace takes {size}x{size} pixels, got {images.shape[1:3]}")
        x = _conv(c.width, self.dtype, "stem_conv")(images)
        x = PReLU(name="stem_prelu")(FrozenBatchNorm(self.dtype, name="stem_norm")(x))
        index = 0
        for stage, depth in enumerate(c.depths):
            for place in range(depth):
                stride = 2 if place == 0 else 1
                name = f"block_{index}"
                x = Block(c, c.width * 2**stage, stride, self.dtype, name=name)(x)
                index += 1
        x = FrozenBatchNorm(self.dtype, name="out_norm1")(x)
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)  # the original flattens [C, H, W]
        x = nn.Dense(c.features, dtype=self.dtype, name="out")(x)
        return FrozenBatchNorm(self.dtype, name="out_norm2")(x).astype(jnp.float32)


def init_params(config: ArcFaceConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    size = config.image_size
    return ArcFace(config).init(key, jnp.zeros((1, size, size, 3)))["params"]
