"""What a pixel diffusion model is: a UNet with the schedule and the target it was trained with."""

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from clipdiff_jax.core.config import LATER
from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.grids import Spacing
from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.schedule import DiscreteSchedule, NoiseSchedule
from clipdiff_jax.models.unet import UNet, UNetConfig


@dataclass(frozen=True)
class OwnSampling:
    """How a model is sampled where a call does not say otherwise.

    Attributes:
      bound: |x0| is clipped to it while sampling; None does not clip.
      spacing: how the times are spread over the schedule, see `diffusion.grids`.
      offset: added to every time, for `spacing` "leading".
      ends_clean: whether the last step leads to the clean image, or to time 0.
    """

    bound: float | None = 1.0
    spacing: Spacing = "trailing"
    offset: int = 0
    ends_clean: bool = True

    def __post_init__(self) -> None:
        if self.bound is not None and not self.bound > 0:
            raise ValueError(f"bound is {self.bound}, expected a number above 0, or None")
        if self.offset and self.spacing != "leading":
            raise ValueError(f"offset {self.offset} is of the spacing 'leading' alone")

    def times(
        self, sampling: Sampling, schedule: NoiseSchedule
    ) -> Int[np.ndarray, " steps_plus_1"]:
        """The grid that a request asks for; where it says no spacing, this model's own.

        Raises `ValueError` for more steps than the schedule has times.
        """
        if sampling.spacing is not None:
            return sampling.times(schedule)
        grid = sampling.replace(spacing=self.spacing).times(schedule)
        if self.offset and isinstance(sampling.steps, (int, np.integer)):
            grid[:-1] = np.minimum(grid[:-1] + self.offset, schedule.num_steps - 1)
        if self.ends_clean or (len(grid) == 2 and grid[0] == 0):
            return grid
        return grid[:-1] if grid[-2] == 0 else np.append(grid[:-1], np.int32(0))


@dataclass(frozen=True)
class DiffusionConfig:
    """Describes a pixel diffusion model without text; `unet.num_classes` says if it takes classes.

    Attributes:
      unet: the network.
      image_size: side of the square images it was trained on, in pixels.
      schedule: the noise schedule.
      prediction: what the network outputs.
      learned_variance: whether the second half of the output is the variance.
      time_scale: times the index, it is what the network is told for the time.
      sampling: how it is sampled where a call does not say otherwise.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    image_size: int = 256
    schedule: DiscreteSchedule = field(default_factory=DiscreteSchedule)
    prediction: Target = "eps"
    learned_variance: bool = False
    time_scale: float = 1.0
    sampling: OwnSampling = field(default_factory=OwnSampling, metadata=LATER)

    def __post_init__(self) -> None:
        if self.image_size % self.unet.stride:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the network's stride "
                f"{self.unet.stride}"
            )
        expected = self.unet.in_channels * (2 if self.learned_variance else 1)
        if self.unet.out_channels != expected:
            raise ValueError(
                f"unet.out_channels is {self.unet.out_channels}, expected {expected} with "
                f"learned_variance={self.learned_variance}"
            )


def init_params(config: DiffusionConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    size, channels = config.image_size, config.unet.in_channels
    x, t = jnp.zeros((1, size, size, channels)), jnp.zeros((1,), jnp.int32)
    cond = None if config.unet.num_classes is None else {"classes": t}
    return UNet(config.unet).init(key, x, t, cond)["params"]
