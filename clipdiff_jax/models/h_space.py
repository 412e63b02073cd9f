"""The small network that edits in h-space: it shifts the bottleneck of a frozen UNet.

Asyrp (Kwon et al. 2023, arXiv 2210.10960, section 4.3): two convolutions of one pixel with the time
between them; 0.79M parameters beside a bottleneck of 512 channels.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.layers import Dtype
from clipdiff_jax.models.unet import UNetConfig


class HSpaceShift(nn.Module):
    """The shift of a bottleneck h, given the UNet's embedding of the time.

    The last convolution starts at zero, so that an edit starts as none.
    """

    config: UNetConfig
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, h: Float[Array, "b h w c"], emb: Float[Array, "b e"]
    ) -> Float[Array, "b h w c"]:
        cfg, width = self.config, h.shape[-1]
        x = Conv(width, (1, 1), dtype=self.dtype, name="conv_0")(h)
        x += nn.Dense(width, dtype=self.dtype, name="time")(nn.silu(emb))[:, None, None, :]
        x = nn.GroupNorm(cfg.norm_groups, epsilon=cfg.norm_eps, dtype=self.dtype, name="norm")(x)
        zeros = nn.initializers.zeros_init()
        return Conv(width, (1, 1), kernel_init=zeros, dtype=self.dtype, name="conv_1")(nn.silu(x))
