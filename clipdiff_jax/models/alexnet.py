"""AlexNet's convolutions as torchvision has them (Krizhevsky 2014, arXiv 1404.5997), looked at
inside.

Five convolutions with ReLU, overlapping max pools before the second and the third. What it gives
is each convolution's activation. It is only ever loaded, never trained here.
"""

from dataclasses import dataclass

import flax.linen as nn
from jaxtyping import Array, Float

from clipdiff_jax.models.convolution import Conv

# Kernel, stride, padding, and whether pooled before; of each convolution.
LAYERS = ((11, 4, 2, False), (5, 1, 2, True), (3, 1, 1, True), (3, 1, 1, False), (3, 1, 1, False))


@dataclass(frozen=True)
class AlexNetConfig:
    """widths: channels of the five convolutions."""

    widths: tuple[int, int, int, int, int] = (64, 192, 384, 256, 256)

    @property
    def smallest(self) -> int:
        """The fewest pixels per side that leave the last convolutions one."""
        return 31


class AlexNet(nn.Module):
    """Normalised pictures -> the activations of all convolutions `conv1` to `conv5`."""

    config: AlexNetConfig = AlexNetConfig()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> tuple[Float[Array, "b _ _ _"], ...]:
        features = []
        layers = zip(self.config.widths, LAYERS, strict=True)
        for index, (width, (kernel, stride, padding, pooled)) in enumerate(layers, 1):
            if pooled:
                x = nn.max_pool(x, (3, 3), (2, 2))
            around = ((padding, padding), (padding, padding))
            convolution = Conv(
                width, (kernel, kernel), (stride, stride), around, name=f"conv{index}"
            )
            x = nn.relu(convolution(x))
            features.append(x)
        return tuple(features)
