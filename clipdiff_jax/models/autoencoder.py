"""The autoencoder of latent diffusion: pictures to small maps of few channels, and back.

Rombach et al. 2022, arXiv 2112.10752, section 3.1 (regularised by KL, as of Stable Diffusion):

    q(z | x) = N(mean, exp(logvar)),  (mean, logvar) = quant(encoder(x))                     (1)
    x'       = decoder(post_quant(z))                                                        (2)

Both are the residual blocks of the UNet without time. For small machines a stem may fold squares of
pixels into channels, so that no convolution runs at the full resolution.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.layers import Downsample, Upsample, depth_to_space, space_to_depth
from clipdiff_jax.models.unet_blocks import AttentionBlock, ResBlock
from clipdiff_jax.models.unet_config import UNetConfig

LOWEST, HIGHEST = -30.0, 20.0  # of log variances


class Posterior(NamedTuple):
    """q(z | x) of eq. 1: mean and log variance of each latent number."""

    mean: Float[Array, "b h w c"]
    logvar: Float[Array, "b h w c"]


@dataclass(frozen=True)
class AutoencoderConfig:
    """Describes an `Autoencoder`; the defaults are Stable Diffusion's.

    Attributes:
      latent_channels: channels of the latents.
      channels: width of each resolution level, finest first.
      blocks: residual blocks per level of the encoder; the decoder has one more.
      norm_groups, norm_eps: of every GroupNorm.
      middle_attention: attention between the two residual blocks of the middle.
      patch: side of the squares of pixels folded into channels around both networks.
      scaling, shift: latents as diffusion sees them are scaling * (z - shift).
      wide_range: activations leave float16's range, so that where float16 is asked for float32
        computes (SDXL's).
    """

    latent_channels: int = 4
    channels: tuple[int, ...] = (128, 256, 512, 512)
    blocks: int = 2
    norm_groups: int = 32
    norm_eps: float = 1e-6
    middle_attention: bool = True
    patch: int = 1
    scaling: float = 0.18215
    shift: float = 0.0
    wide_range: bool = False

    def __post_init__(self) -> None:
        if self.latent_channels < 1 or self.patch < 1 or self.blocks < 1:
            raise ValueError(
                f"latent_channels {self.latent_channels}, patch {self.patch} and blocks "
                f"{self.blocks} must be at least 1"
            )
        if not self.scaling > 0:
            raise ValueError(f"scaling is {self.scaling}, expected a number above 0")
        self.block  # noqa: B018  (what the blocks refuse)

    @property
    def factor(self) -> int:
        """Pixels, along a side, that one position of the latents stands for."""
        return self.patch * 2 ** (len(self.channels) - 1)

    @property
    def block(self) -> UNetConfig:
        """What `ResBlock` and `AttentionBlock` read."""
        return UNetConfig(
            channels=self.channels,
            attention_levels=(),
            norm_groups=self.norm_groups,
            norm_eps=self.norm_eps,
        )


class Encoder(nn.Module):
    """Pictures -> what `quant` makes mean and log variance of."""

    config: AutoencoderConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b i j c"]:
        cfg, dtype = self.config, self.dtype
        x = space_to_depth(x, cfg.patch).astype(dtype)
        h = Conv(cfg.channels[0], (3, 3), dtype=dtype, name="conv_in")(x)
        for level, width in enumerate(cfg.channels):
            for i in range(cfg.blocks):
                name = f"down_{level}_res_{i}"
                h = ResBlock(cfg.block, width, dtype=dtype, name=name)(h, None, False)
            if level < len(cfg.channels) - 1:
                name = f"down_{level}_downsample"
                h = Downsample(width, "right", dtype, name=name)(h)
        h = _middle(self, h)
        return _out(self, h, 2 * cfg.latent_channels)


class Decoder(nn.Module):
    """Latents after `post_quant` -> pictures."""

    config: AutoencoderConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b i j c"]) -> Float[Array, "b h w 3"]:
        cfg, dtype = self.config, self.dtype
        h = Conv(cfg.channels[-1], (3, 3), dtype=dtype, name="conv_in")(z.astype(dtype))
        h = _middle(self, h)
        for level, width in reversed(list(enumerate(cfg.channels))):
            for i in range(cfg.blocks + 1):
                name = f"up_{level}_res_{i}"
                h = ResBlock(cfg.block, width, dtype=dtype, name=name)(h, None, False)
            if level > 0:
                h = Upsample(width, dtype, name=f"up_{level}_upsample")(h)
        return depth_to_space(_out(self, h, 3 * cfg.patch**2), cfg.patch)


class Autoencoder(nn.Module):
    """Both directions; parameters `encoder`, `quant`, `post_quant`, `decoder`."""

    config: AutoencoderConfig
    dtype: DType = jnp.float32

    def setup(self) -> None:
        latent = self.config.latent_channels
        self.encoder = Encoder(self.config, self.dtype)
        self.quant = Conv(2 * latent, (1, 1), dtype=self.dtype)
        self.post_quant = Conv(latent, (1, 1), dtype=self.dtype)
        self.decoder = Decoder(self.config, self.dtype)

    def encode(self, images: Float[Array, "b h w 3"]) -> Posterior:
        """Pictures in [-1, 1] -> q(z | x) of eq. 1, float32, not scaled.

        Raises `ValueError` for sides that are no multiples of `config.factor`.
        """
        height, width = images.shape[1:3]
        check_sides(height, width, self.config.factor)
        moments = self.quant(self.encoder(images)).astype(jnp.float32)
        mean, logvar = jnp.split(moments, 2, axis=-1)
        return Posterior(mean, jnp.clip(logvar, LOWEST, HIGHEST))

    def decode(self, z: Float[Array, "b i j c"]) -> Float[Array, "b h w 3"]:
        """Latents as `encode` gives them -> pictures, float32, not clipped (eq. 2)."""
        return self.decoder(self.post_quant(z.astype(self.dtype))).astype(jnp.float32)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """There and back, by the mean."""
        return self.decode(self.encode(images).mean)


def init_params(config: AutoencoderConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    return Autoencoder(config).init(key, jnp.zeros((1, config.factor, config.factor, 3)))["params"]


def check_sides(height: int, width: int, factor: int) -> None:
    """Raises `ValueError`, with the nearest that fit, for sides that are no multiples of factor."""
    if height % factor or width % factor or not (height and width):
        fits = [max(round(side / factor), 1) * factor for side in (height, width)]
        raise ValueError(
            f"a picture of {height}x{width} pixels: the sides must be multiples of {factor}, such "
            f"as {fits[0]}x{fits[1]}"
        )


def _middle(network: Encoder | Decoder, h: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
    """Residual block, attention over all positions, residual block."""
    cfg, dtype = network.config, network.dtype
    width = cfg.channels[-1]
    h = ResBlock(cfg.block, width, dtype=dtype, name="mid_res_0", parent=network)(h, None, False)
    if cfg.middle_attention:
        h = AttentionBlock(cfg.block, dtype, name="mid_attn", parent=network)(h)
    return ResBlock(cfg.block, width, dtype=dtype, name="mid_res_1", parent=network)(h, None, False)


def _out(network: Encoder | Decoder, h: Float[Array, "b h w c"], features: int) -> Array:
    """Norm, SiLU and the last convolution."""
    cfg, dtype = network.config, network.dtype
    norm = nn.GroupNorm(
        cfg.norm_groups, epsilon=cfg.norm_eps, dtype=dtype, name="norm_out", parent=network
    )
    last = Conv(features, (3, 3), dtype=dtype, name="conv_out", parent=network)
    return last(nn.silu(norm(h)))
