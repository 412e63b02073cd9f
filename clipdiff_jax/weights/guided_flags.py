"""What a file of guided-diffusion or DDPM does not tell of its model, and its user has to.

The defaults are those of most models:

    ADM at 256 and 512 px, its 512 px upsampler, ILVR, P2    the defaults
    ADM at 64 px                                             new_attention_order=True
    ADM at 128 px, its 256 px upsampler                      num_heads=4
    improved-diffusion                                       num_heads=4, diffusion_steps=4000,
                                                             rescale_timesteps=True, and its
                                                             noise_schedule ("cosine" at 64 px)
"""

from dataclasses import dataclass
from typing import Literal

from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.diffusion.schedule import DiscreteSchedule


@dataclass(frozen=True, kw_only=True)
class GuidedFlags:
    """What a file does not tell of its model: flags it was trained with, by their names there.

    Attributes:
      num_head_channels: channels per attention head.
      num_heads: heads of every attention, in place of `num_head_channels`.
      new_attention_order: the rows of the fused `qkv` are all queries, then all keys, then all
        values, rather than head by head.
      diffusion_steps: of the noise schedule.
      noise_schedule: "linear", with end points scaled by 1000 / diffusion_steps, or "cosine".
      rescale_timesteps: the network is told the time out of 1000, whatever `diffusion_steps` is.
      image_size: side of the images in pixels; None where the last level is at 8 x 8 (in files of
        DDPM's names: where attention is at 16 x 16).
      channels: of the images, for a network whose channels could be those of an upsampler (6 in
        and 6 out); None where they could not.
      prediction: what the network predicts.
    """

    num_head_channels: int = 64
    num_heads: int | None = None
    new_attention_order: bool = False
    diffusion_steps: int = 1000
    noise_schedule: Literal["linear", "cosine"] = "linear"
    rescale_timesteps: bool = False
    image_size: int | None = None
    channels: int | None = None
    prediction: Target = "eps"

    def __post_init__(self) -> None:
        if self.noise_schedule not in ("linear", "cosine"):
            raise ValueError(
                f"noise_schedule must be 'linear' or 'cosine', got {self.noise_schedule!r}"
            )

    @property
    def schedule(self) -> DiscreteSchedule:
        if self.noise_schedule == "cosine":
            return DiscreteSchedule("squared_cosine", self.diffusion_steps)
        scale = 1000 / self.diffusion_steps
        return DiscreteSchedule("linear", self.diffusion_steps, scale * 1e-4, scale * 0.02)

    @property
    def time_scale(self) -> float:
        return 1000 / self.diffusion_steps if self.rescale_timesteps else 1.0
