"""The autoencoder as an object: pictures of any size to latents as diffusion sees them, and back.

z = scaling (mean(encoder(x)) - shift),   x' = decoder(z / scaling + shift)              (1)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.networks import run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.images import Batch, Pictures, as_images
from clipdiff_jax.latent.tiles import tiled
from clipdiff_jax.models.autoencoder import Autoencoder, AutoencoderConfig, check_sides
from clipdiff_jax.models.taesd import TinyAutoencoder, TinyAutoencoderConfig

TILE, OVERLAP = 1024, 128  # pixels: beyond a side of TILE it works piece by piece


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Codec:
    """An autoencoder; `dtype` is what it computes in."""

    config: AutoencoderConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def encode(self, images: Pictures) -> Float[Array, "b h w c"]:
        """Pictures -> scaled latents, eq. 1, float32. Above 1024 pixels a side piece by piece.

        Raises as `data.images.as_images`, and `ValueError` for sides that are no multiples of the
        factor.
        """
        return self.encode_batch(as_images(images))

    def encode_batch(self, x: Batch) -> Float[Array, "b h w c"]:
        """The same of pictures that are checked: of any brightness."""
        check_sides(x.shape[1], x.shape[2], self.config.factor)
        return self.scaled(_pieces(partial(_encode, self), x, TILE, OVERLAP))

    def decode(self, latents: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b i j 3"]:
        """Scaled latents -> pictures, eq. 1, not clipped. Above 1024 pixels a side piece by piece.

        Raises `ValueError` for latents of other channels, and where what comes out is not finite.
        """
        factor, z = self.config.factor, self.unscaled(self.check(latents))
        images = _pieces(partial(_decode, self), z, TILE // factor, OVERLAP // factor)
        if not isinstance(images, jax.core.Tracer) and not bool(jnp.isfinite(images).all()):
            raise ValueError(
                f"the decoder's pictures have numbers that are not finite, in "
                f"{jnp.dtype(self.compute_dtype)}: load the model with dtype=jnp.float32, or look "
                "at the latents"
            )
        return images

    def scaled(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The network's latents as diffusion sees them, eq. 1."""
        return self.config.scaling * (z - self.config.shift)

    def unscaled(self, latents: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The inverse of `scaled`."""
        return latents / self.config.scaling + self.config.shift

    def check(
        self, latents: Float[Array | np.ndarray, "b h w c"], count: int | None = None
    ) -> Float[Array, "b h w c"]:
        """Latents as float32. Raises `ValueError` for other channels, and for another number of
        them than `count`."""
        channels = self.config.latent_channels
        if latents.shape[-1] != channels or count not in (None, len(latents)):
            many = "N" if count is None else count
            raise ValueError(
                f"latents are {list(latents.shape)}, expected [{many},H,W,{channels}]"
                + (": channels come last" if latents.shape[1] == channels else "")
            )
        return jnp.asarray(latents, jnp.float32)

    @property
    def compute_dtype(self) -> DType:
        """`dtype`; float32 in place of a float16 that the network leaves, see
        `AutoencoderConfig.wide_range`."""
        narrow = jnp.dtype(self.dtype) == jnp.float16 and self.config.wide_range
        return jnp.float32 if narrow else self.dtype


def _pieces(apply: Callable[[Array], Array], x: Array, size: int, overlap: int) -> Array:
    """`apply` to all of x, or where a side is above `size` piece by piece."""
    return apply(x) if max(x.shape[1:3]) <= size else tiled(apply, x, size, overlap)


@jax.jit
def _encode(codec: Codec, images: Array) -> Array:
    network = Autoencoder(codec.config, codec.compute_dtype)
    return run(network, codec.params, images, method="encode").mean


@jax.jit
def _decode(codec: Codec, z: Array) -> Array:
    network = Autoencoder(codec.config, codec.compute_dtype)
    return run(network, codec.params, z, method="decode")


@partial(jax.jit, static_argnames=("config", "dtype"))
def show_small(
    params: Params, latents: Array, config: TinyAutoencoderConfig | None, dtype: DType
) -> Float[Array, "b i j 3"]:
    """Latents -> pictures in [-1, 1] by a tiny autoencoder."""
    network = TinyAutoencoder(config or TinyAutoencoderConfig(), dtype)
    return jnp.clip(run(network, params, latents, method="decode"), -1, 1)
