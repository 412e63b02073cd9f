"""TAESD: a tiny autoencoder that shows latents as a picture in a moment.

Ollin Boer Bohan's distillation of Stable Diffusion's autoencoder (github.com/madebyollin/taesd):
plain convolutions with ReLU, no norm and no attention. Its latents are those that diffusion sees,
already scaled; there is one for Stable Diffusion 1 and 2, and one for XL.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.autoencoder import check_sides
from clipdiff_jax.models.convolution import Conv
from clipdiff_jax.models.layers import nearest_upsample

LIMIT = 3.0  # of the latents that the decoder looks at: 3 tanh(z / 3)


@dataclass(frozen=True)
class TinyAutoencoderConfig:
    """Describes a `TinyAutoencoder`; the defaults are TAESD's.

    Attributes:
      latent_channels: channels of the latents.
      width: channels of every convolution.
      encoder_blocks: blocks of each level of the encoder, finest first.
      decoder_blocks: blocks of each level of the decoder, coarsest first.
    """

    latent_channels: int = 4
    width: int = 64
    encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)

    def __post_init__(self) -> None:
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError(
                f"encoder_blocks has {len(self.encoder_blocks)} levels, decoder_blocks "
                f"{len(self.decoder_blocks)}: expected as many"
            )

    @property
    def factor(self) -> int:
        """Pixels, along a side, that one position of the latents stands for."""
        return 2 ** (len(self.encoder_blocks) - 1)


class _Block(nn.Module):
    """relu(conv relu conv relu conv + x)."""

    width: int
    dtype: DType

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        h = x
        for i in range(3):
            h = _conv(self.width, self.dtype, f"conv_{i}")(h if i == 0 else nn.relu(h))
        return nn.relu(h + x)


class TinyEncoder(nn.Module):
    """Pictures in [-1, 1] -> scaled latents; parameters `level_{l}_block_{i}`."""

    config: TinyAutoencoderConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b i j c"]:
        cfg, dtype = self.config, self.dtype
        h = _conv(cfg.width, dtype, "conv_in")(((images + 1) / 2).astype(dtype))
        for level, blocks in enumerate(cfg.encoder_blocks):
            if level > 0:
                h = Conv(
                    cfg.width, (3, 3), 2, ((1, 1), (1, 1)), use_bias=False, dtype=dtype,
                    name=f"level_{level}_downsample",
                )(h)  # fmt: skip
            for i in range(blocks):
                h = _Block(cfg.width, dtype, name=f"level_{level}_block_{i}")(h)
        return _conv(cfg.latent_channels, dtype, "conv_out")(h)


class TinyDecoder(nn.Module):
    """Scaled latents -> pictures, not clipped; parameters `level_{l}_block_{i}`, coarsest first."""

    config: TinyAutoencoderConfig
    dtype: DType = jnp.float32

    @nn.compact
    def __call__(self, latents: Float[Array, "b i j c"]) -> Float[Array, "b h w 3"]:
        cfg, dtype = self.config, self.dtype
        h = (LIMIT * jnp.tanh(latents / LIMIT)).astype(dtype)
        h = nn.relu(_conv(cfg.width, dtype, "conv_in")(h))
        for level, blocks in enumerate(cfg.decoder_blocks):
            for i in range(blocks):
                h = _Block(cfg.width, dtype, name=f"level_{level}_block_{i}")(h)
            if level < len(cfg.decoder_blocks) - 1:
                name = f"level_{level}_upsample"
                conv = Conv(cfg.width, (3, 3), use_bias=False, dtype=dtype, name=name)
                h = conv(nearest_upsample(h))
        return 2 * _conv(3, dtype, "conv_out")(h) - 1


class TinyAutoencoder(nn.Module):
    """Both directions; parameters `encoder`, `decoder`."""

    config: TinyAutoencoderConfig
    dtype: DType = jnp.float32

    def setup(self) -> None:
        self.encoder = TinyEncoder(self.config, self.dtype)
        self.decoder = TinyDecoder(self.config, self.dtype)

    def encode(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b i j c"]:
        """Pictures in [-1, 1] -> scaled latents, float32.

        Raises `ValueError` for sides that are no multiples of `config.factor`.
        """
        height, width = images.shape[1:3]
        check_sides(height, width, self.config.factor)
        return self.encoder(images).astype(jnp.float32)

    def decode(self, latents: Float[Array, "b i j c"]) -> Float[Array, "b h w 3"]:
        """Scaled latents -> pictures, float32, not clipped."""
        return self.decoder(latents).astype(jnp.float32)

    def __call__(self, images: Float[Array, "b h w 3"]) -> Float[Array, "b h w 3"]:
        """There and back."""
        return self.decode(self.encode(images))


def init_params(config: TinyAutoencoderConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32)."""
    size = config.factor
    return TinyAutoencoder(config).init(key, jnp.zeros((1, size, size, 3)))["params"]


def _conv(features: int, dtype: DType, name: str) -> nn.Conv:
    return Conv(features, (3, 3), dtype=dtype, name=name)
