"""Encoders of square pieces: what a piece looks like, and how it is turned.

"turned" and "group" are equivariant: with a piece turned by a quarter, the four parts of its
features move on by one place and are otherwise the same,

    f_r(turn(piece)) = f_{r-1}(piece),  r = 0 .. 3 (mod 4)                                 (1)

"turned" is one perceptron that looks at the piece turned back by each of the quarters. To turn the
kernels in place of the pieces is the same, and is one product. "group" is a residual network of
group convolutions over the four quarter turns (Cohen and Welling 2016, arXiv 1602.07576, section
6.2; DiffAssemble, arXiv 2402.19302, section 3.2 has one of ResNet-18's shape): its first layer
convolves with the kernel in its four turns, the others with kernels

    K_r[s] = turn^r(K[s - r])                                                              (2)

from orientation s to r. "plain" is a perceptron of the piece as it lies.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from clipdiff_jax.core.checks import one_of, whole_number
from clipdiff_jax.core.types import DType
from clipdiff_jax.models.convolution import convolve

QUARTERS = 4
Kind = Literal["turned", "group", "plain"]
_STRIDE = 8  # of the group convolutions, three times two
_NORM_GROUPS = 8


@dataclass(frozen=True)
class SquaresConfig:
    """Describes an encoder of square pieces.

    Attributes:
      piece: side of a piece in pixels.
      turns: whether pieces are turned, so that there is a turn to find.
      kind: which encoder, see above.
      hidden: width of the perceptron's hidden layer.
      features: numbers that describe a piece, the four parts together.
      channels: of the stages of the "group" encoder, the first at full resolution.
    """

    piece: int = 16
    turns: bool = True
    kind: Kind = "turned"
    hidden: int = 160
    features: int = 192
    channels: tuple[int, ...] = (32, 64, 64, 128)

    def __post_init__(self) -> None:
        whole_number("piece", self.piece, low=2)
        whole_number("hidden", self.hidden, low=1)
        whole_number("features", self.features, low=QUARTERS)
        one_of("kind", self.kind, get_args(Kind))
        if self.features % QUARTERS:
            raise ValueError(f"features is {self.features}, expected a multiple of {QUARTERS}")
        if self.kind == "group":
            if self.piece % _STRIDE:
                raise ValueError(
                    f"piece is {self.piece}, group convolutions take multiples of {_STRIDE}"
                )
            if len(self.channels) != 4 or any(c < 1 or c % _NORM_GROUPS for c in self.channels):
                raise ValueError(
                    f"channels is {self.channels}, expected four multiples of {_NORM_GROUPS}"
                )

    @property
    def pose(self) -> int:
        """How many numbers a pose has, see `data.puzzles`."""
        return 4 if self.turns else 2


def as_levels(pieces: UInt8[Array, "*b s s 3"] | Float[Array, "*b s s 3"]) -> Array:
    """Pieces in 0 .. 255 as float32 in [-1, 1]; floats are taken to be so already."""
    if pieces.dtype == jnp.uint8:
        return pieces.astype(jnp.float32) / 127.5 - 1
    return pieces.astype(jnp.float32)


class SquareEncoder(nn.Module):
    """Pieces [N,s,s,3] in [-1, 1] -> features [N,F]."""

    config: SquaresConfig
    dtype: DType | None = None

    @nn.compact
    def __call__(self, pieces: Float[Array, "n s s 3"]) -> Float[Array, "n f"]:
        config = self.config
        if config.kind == "plain":
            x = pieces.reshape(len(pieces), -1)
            x = nn.gelu(nn.Dense(config.hidden, dtype=self.dtype, name="hidden")(x))
            return nn.Dense(config.features, dtype=self.dtype, name="out")(x)
        part = config.features // QUARTERS
        if config.kind == "turned":
            x = TurnedDense(config.hidden, dtype=self.dtype, name="hidden")(pieces)
            x = nn.Dense(part, dtype=self.dtype, name="out")(nn.gelu(x))
        else:
            x = GroupNetwork(config.channels, part, dtype=self.dtype, name="network")(pieces)
        return x.reshape(len(pieces), config.features)


class TurnedDense(nn.Module):
    """[N,s,s,3] -> [N,4,width]: one linear layer on the piece turned back by 0 .. 3 quarters."""

    width: int
    dtype: DType | None = None

    @nn.compact
    def __call__(self, pieces: Float[Array, "n s s 3"]) -> Float[Array, "n 4 width"]:
        count, side = pieces.shape[:2]
        shape = (side * side * 3, self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,), jnp.float32)
        dtype = self.dtype or jnp.float32
        square = kernel.astype(dtype).reshape(side, side, 3, self.width)
        turned = jnp.stack([jnp.rot90(square, r) for r in range(QUARTERS)], axis=3)
        x = pieces.reshape(count, -1).astype(dtype) @ turned.reshape(shape[0], -1)
        return x.reshape(count, QUARTERS, self.width) + bias.astype(dtype)


class GroupConv(nn.Module):
    """Eq. 2 on [N,H,W,4,C], or from pictures [N,H,W,C]; a stride takes means of 2 x 2.

    A convolution of even stride would see a turned picture's pixels at other places; means do not.
    """

    channels: int
    size: int = 3
    stride: int = 1
    dtype: DType | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "n h w *r c"]) -> Float[Array, "n h2 w2 4 d"]:
        lifts = x.ndim == 4
        orientations = 1 if lifts else QUARTERS
        inside = x.shape[-1]
        size = self.size
        init = nn.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=(0, 1, 2, 3))
        shape = (size, size, orientations, inside, self.channels)
        kernel = self.param("kernel", init, shape, jnp.float32)
        dtype = self.dtype or jnp.float32
        kernel = kernel.astype(dtype)
        turned = [jnp.rot90(jnp.roll(kernel, r, axis=2), r) for r in range(QUARTERS)]
        whole = jnp.stack(turned, axis=4).reshape(size, size, orientations * inside, -1)
        flat = x.astype(dtype).reshape(*x.shape[:3], orientations * inside)
        if self.stride > 1:
            flat = nn.avg_pool(flat, (self.stride,) * 2, (self.stride,) * 2)
        y = convolve(flat, whole, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y.reshape(*y.shape[:3], QUARTERS, self.channels)


class GroupNetwork(nn.Module):
    """[N,s,s,3] -> [N,4,features]: two residual blocks a stage, then a linear layer, eq. 1.

    The last layer sees the map of each orientation turned back by it, and is the same for all.
    """

    channels: tuple[int, ...]
    features: int
    dtype: DType | None = None

    @nn.compact
    def __call__(self, pieces: Float[Array, "n s s 3"]) -> Float[Array, "n 4 features"]:
        x = _normed(GroupConv(self.channels[0], dtype=self.dtype, name="stem")(pieces), "stem_norm")
        x = nn.relu(x)
        for stage, channels in enumerate(self.channels):
            for block in range(2):
                name, stride = f"stage{stage}_block{block}", 2 if stage and not block else 1
                conv = lambda which, size=3, stride=1, c=channels, n=name: GroupConv(
                    c, size, stride, self.dtype, name=f"{n}_{which}"
                )
                y = nn.relu(_normed(conv("conv1", stride=stride)(x), f"{name}_norm1"))
                y = _normed(conv("conv2")(y), f"{name}_norm2")
                if x.shape != y.shape:
                    x = _normed(conv("skip", 1, stride)(x), f"{name}_skip_norm")
                x = nn.relu(x + y)
        back = [jnp.rot90(x[:, :, :, r], -r, axes=(1, 2)) for r in range(QUARTERS)]
        maps = jnp.stack(back, axis=1).reshape(len(x), QUARTERS, -1)
        return nn.Dense(self.features, dtype=self.dtype, name="out")(maps)


def _normed(x: Float[Array, "n h w 4 c"], name: str) -> Float[Array, "n h w 4 c"]:
    """Group norm whose means go over all orientations, so that they do not tell them apart."""
    shape = x.shape
    wide = x.reshape(shape[0], shape[1], shape[2] * QUARTERS, shape[4])
    y = nn.GroupNorm(_NORM_GROUPS, dtype=x.dtype, name=name)(wide)
    return y.reshape(shape)
