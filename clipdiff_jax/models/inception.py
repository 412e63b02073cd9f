"""InceptionV3 as the Fréchet Inception distance knows it (Szegedy et al. 2015, arXiv 1512.00567).

Pictures are described by the 2048 numbers after the last average pooling. The network is that of
TensorFlow's graph of 2015-12-05, which Heusel et al. 2017 (arXiv 1706.08500) measured with; it
differs from the paper, and from torchvision's network, in two ways that its weights need: average
pools leave the border's padding out of the mean, and the last block pools by the maximum. It is
only ever loaded, never trained here: batch norms use their stored statistics.

Convolutions are computed in full float32, because a distance between means and covariances shows
the rounding that accelerators do otherwise.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.resnet import FrozenBatchNorm

IMAGE_SIZE, FEATURES = 299, 2048
SMALLEST = 75  # pixels per side that leave something to the last block
EPS = 1e-3  # of the batch norms


class Layer(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        convolution = Conv(
            self.features, self.kernel, (self.stride, self.stride), self.padding,
            use_bias=False, precision=jax.lax.Precision.HIGHEST, name="conv",
        )  # fmt: skip
        return nn.relu(FrozenBatchNorm(eps=EPS, name="norm")(convolution(x)))


# Windows with a stride leave out what does not fill one.
_down = partial(Layer, kernel=(3, 3), stride=2, padding="VALID")
_max_pool = partial(nn.max_pool, window_shape=(3, 3), strides=(2, 2))


def _average_pool(x: Array) -> Array:
    return nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)


class BlockA(nn.Module):
    """1x1, 5x5 and twice 3x3 convolutions, and `pooled` features of an average pool."""

    pooled: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        one = Layer(64, name="branch1x1")(x)
        five = Layer(48, name="branch5x5_1")(x)
        five = Layer(64, (5, 5), name="branch5x5_2")(five)
        three = Layer(64, name="branch3x3dbl_1")(x)
        three = Layer(96, (3, 3), name="branch3x3dbl_2")(three)
        three = Layer(96, (3, 3), name="branch3x3dbl_3")(three)
        pool = Layer(self.pooled, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([one, five, three, pool], axis=-1)


class BlockB(nn.Module):
    """Halves the resolution: by 3x3 convolutions and a pool beside each other."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        three = _down(384, name="branch3x3")(x)
        double = Layer(64, name="branch3x3dbl_1")(x)
        double = Layer(96, (3, 3), name="branch3x3dbl_2")(double)
        double = _down(96, name="branch3x3dbl_3")(double)
        return jnp.concatenate([three, double, _max_pool(x)], axis=-1)


class BlockC(nn.Module):
    """7x7 convolutions factored into rows and columns, of `inner` channels."""

    inner: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        one = Layer(192, name="branch1x1")(x)
        seven = Layer(self.inner, name="branch7x7_1")(x)
        seven = Layer(self.inner, (1, 7), name="branch7x7_2")(seven)
        seven = Layer(192, (7, 1), name="branch7x7_3")(seven)
        double = Layer(self.inner, name="branch7x7dbl_1")(x)
        double = Layer(self.inner, (7, 1), name="branch7x7dbl_2")(double)
        double = Layer(self.inner, (1, 7), name="branch7x7dbl_3")(double)
        double = Layer(self.inner, (7, 1), name="branch7x7dbl_4")(double)
        double = Layer(192, (1, 7), name="branch7x7dbl_5")(double)
        pool = Layer(192, name="branch_pool")(_average_pool(x))
        return jnp.concatenate([one, seven, double, pool], axis=-1)


class BlockD(nn.Module):
    """Halves the resolution a second time."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b i j d"]:
        three = _down(320, name="branch3x3_2")(Layer(192, name="branch3x3_1")(x))
        seven = Layer(192, name="branch7x7x3_1")(x)
        seven = Layer(192, (1, 7), name="branch7x7x3_2")(seven)
        seven = Layer(192, (7, 1), name="branch7x7x3_3")(seven)
        seven = _down(192, name="branch7x7x3_4")(seven)
        return jnp.concatenate([three, seven, _max_pool(x)], axis=-1)


class BlockE(nn.Module):
    """Rows and columns side by side, 2048 channels; its pool is the maximum with `max_pool`."""

    max_pool: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        one = Layer(320, name="branch1x1")(x)
        three = Layer(384, name="branch3x3_1")(x)
        rows = Layer(384, (1, 3), name="branch3x3_2a")(three)
        columns = Layer(384, (3, 1), name="branch3x3_2b")(three)
        double = Layer(448, name="branch3x3dbl_1")(x)
        double = Layer(384, (3, 3), name="branch3x3dbl_2")(double)
        double_rows = Layer(384, (1, 3), name="branch3x3dbl_3a")(double)
        double_columns = Layer(384, (3, 1), name="branch3x3dbl_3b")(double)
        pool = nn.max_pool(x, (3, 3), (1, 1), "SAME") if self.max_pool else _average_pool(x)
        pool = Layer(192, name="branch_pool")(pool)
        parts = [one, rows, columns, double_rows, double_columns, pool]
        return jnp.concatenate(parts, axis=-1)


class Inception(nn.Module):
    """Pictures in [-1, 1] -> their features.

    `Inception().apply({"params": p}, images)`: [B, 299, 299, 3] -> [B, 2048]. The distance is
    defined at 299 pixels; the network takes any size from 75 on and raises `ValueError` below.
    """

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b 2048"]:
        if min(images.shape[1:3]) < SMALLEST:
            raise ValueError(
                f"Inception takes {SMALLEST} pixels per side or more, got {images.shape[1:3]}"
            )
        x = _down(32, name="conv_1a")(images)
        x = Layer(32, (3, 3), padding="VALID", name="conv_2a")(x)
        x = Layer(64, (3, 3), name="conv_2b")(x)
        x = Layer(80, name="conv_3b")(_max_pool(x))
        x = Layer(192, (3, 3), padding="VALID", name="conv_4a")(x)
        x = _max_pool(x)
        x = BlockA(32, name="mixed_5b")(x)
        x = BlockA(64, name="mixed_5c")(x)
        x = BlockA(64, name="mixed_5d")(x)
        x = BlockB(name="mixed_6a")(x)
        x = BlockC(128, name="mixed_6b")(x)
        x = BlockC(160, name="mixed_6c")(x)
        x = BlockC(160, name="mixed_6d")(x)
        x = BlockC(192, name="mixed_6e")(x)
        x = BlockD(name="mixed_7a")(x)
        x = BlockE(False, name="mixed_7b")(x)
        x = BlockE(True, name="mixed_7c")(x)
        return x.mean(axis=(1, 2))
