"""VGG's convolutions (Simonyan & Zisserman 2014, arXiv 1409.1556, table 1), looked at inside.

Stages of 3 x 3 convolutions with ReLU, each stage at half the resolution of the one before. What
it gives is the last activation of every stage: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3 of
VGG-16. It is only ever loaded, never trained here.
"""

from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from clipdiff_jax.models.convolution import Conv


@dataclass(frozen=True)
class VGGConfig:
    """The defaults are VGG-16.

    Attributes:
      widths: channels of each stage.
      depths: convolutions of each stage.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.depths):
            raise ValueError(f"{len(self.depths)} stages need as many widths, got {self.widths}")

    @property
    def smallest(self) -> int:
        """The fewest pixels per side that leave the last stage one."""
        return 2 ** (len(self.widths) - 1)


class VGG(nn.Module):
    """Normalised pictures -> the last activation of each stage, the finest first.

    Parameters `conv{stage}_{index}`, counted from 1 as the paper does.
    """

    config: VGGConfig = VGGConfig()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        features = []
        stages = zip(self.config.widths, self.config.depths, strict=True)
        for stage, (width, depth) in enumerate(stages, 1):
            if stage > 1:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for index in range(1, depth + 1):
                convolution = Conv(
                    width, (3, 3), padding=((1, 1), (1, 1)), name=f"conv{stage}_{index}"
                )
                x = nn.relu(convolution(x))
            features.append(x)
        return tuple(features)
