"""An encoder of fragments: a cloud of points, in the fragment's own frame, as one vector.

What it sees does not change when the fragment is turned, because its frame turns with it
(`data.fragments.own_frame`); so a perceptron of each point, and the greatest and the mean of each
of its outputs over the points (PointNet, Qi et al. 2017, arXiv 1612.00593), are enough. In its
place DiffAssemble has vector neurons over graphs of neighbours.

A pose has a translation and a rotation. It is denoised as the two first columns of the rotation,
"6d", all numbers Gaussian; or on the group itself, "so3" (`diffusion.so3`). In both cases the
network gives nine numbers, and Gram-Schmidt makes a rotation of six of them.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.core.checks import one_of, whole_number
from clipdiff_jax.core.types import DType
from clipdiff_jax.diffusion.so3 import orthonormal, two_columns

OUTPUT = 9  # a translation and two columns
Rotations = Literal["6d", "so3"]


@dataclass(frozen=True)
class PointsConfig:
    """Describes an encoder of fragments.

    Attributes:
      points: of each fragment; clouds of other numbers are resampled.
      hidden, channels: widths of the perceptron of a point.
      features: numbers that describe a fragment.
      rotation: how rotations are denoised, see above.
    """

    points: int = 128
    hidden: int = 64
    channels: int = 128
    features: int = 128
    rotation: Rotations = "6d"

    def __post_init__(self) -> None:
        whole_number("points", self.points, low=8)
        for name in ("hidden", "channels", "features"):
            whole_number(name, getattr(self, name), low=1)
        one_of("rotation", self.rotation, get_args(Rotations))

    @property
    def pose(self) -> int:
        """How many numbers a pose has while it is denoised."""
        return OUTPUT if self.rotation == "6d" else 12


class PointEncoder(nn.Module):
    """Clouds [N,M,3] -> features [N,F]."""

    config: PointsConfig
    dtype: DType | None = None

    @nn.compact
    def __call__(self, clouds: Float[Array, "n m 3"]) -> Float[Array, "n f"]:
        config = self.config
        x = nn.gelu(nn.Dense(config.hidden, dtype=self.dtype, name="hidden")(clouds))
        x = nn.gelu(nn.Dense(config.channels, dtype=self.dtype, name="channels")(x))
        pooled = jnp.concatenate([x.max(1), x.mean(1)], -1)
        return nn.Dense(config.features, dtype=self.dtype, name="out")(pooled)


def as_state(pose: Float[Array, "*b 12"], config: PointsConfig) -> Float[Array, "*b d"]:
    """A translation and a rotation (row by row) as what is denoised."""
    if config.rotation == "so3":
        return pose
    rotation = pose[..., 3:].reshape(*pose.shape[:-1], 3, 3)
    return jnp.concatenate([pose[..., :3], two_columns(rotation)], -1)


def as_pose(state: Float[Array, "*b d"]) -> Float[Array, "*b 12"]:
    """The translation and the rotation of what is denoised; of two columns, orthonormal ones."""
    if state.shape[-1] == 12:
        return state
    rotation = orthonormal(state[..., 3:])
    return jnp.concatenate([state[..., :3], rotation.reshape(*state.shape[:-1], 9)], -1)
