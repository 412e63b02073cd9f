"""A latent diffusion model as one object: its config, its parts' parameters, what it can do.

Rombach et al. 2022, arXiv 2112.10752. A picture x becomes latents, which diffusion sees scaled:

    z = scaling (mean(encoder(x)) - shift),   x' = decoder(z / scaling + shift)              (1)

and a UNet denoises them, looking at the states of a text (cross-attention). Pictures are NHWC in
[-1, 1]; latents are NHWC, float32, always the scaled ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.data.images import Pictures, as_images
from clipdiff_jax.data.tokenize import Tokenizer
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.latent import texts
from clipdiff_jax.latent.texts import Embedded, Texts
from clipdiff_jax.latent.tiles import tiled
from clipdiff_jax.models.autoencoder import Autoencoder, check_sides
from clipdiff_jax.models.latent import LatentConfig
from clipdiff_jax.models.taesd import TinyAutoencoder, TinyAutoencoderConfig
from clipdiff_jax.models.unet import UNet

TILE, OVERLAP = 1024, 128  # pixels: beyond a side of TILE the autoencoder works piece by piece


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LatentDiffusion:
    """A latent diffusion model.

    Attributes:
      config: what it is.
      unet, autoencoder: parameters.
      texts: parameters of each text tower, in the order of `config.texts`.
      tokenizers: of each text tower.
      preview: parameters of the tiny autoencoder; None where the model has none.
      dtype: what the networks compute in.
    """

    config: LatentConfig = field(metadata={"static": True})
    unet: Params = field(repr=False)
    autoencoder: Params = field(repr=False)
    texts: tuple[Params, ...] = field(repr=False)
    tokenizers: tuple[Tokenizer, ...] = field(repr=False, metadata={"static": True})
    preview: Params = field(default=None, repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def encode(self, images: Pictures) -> Float[Array, "b h w c"]:
        """Pictures -> latents, eq. 1. Above 1024 pixels a side it works piece by piece.

        images: [B,H,W,3] in [-1, 1], or what else `data.images.as_images` takes; raises as it does,
            and `ValueError` for sides that are no multiples of the autoencoder's factor.
        """
        x = as_images(images)
        check_sides(x.shape[1], x.shape[2], self.config.factor)
        return self.scaled(_pieces(partial(_encode, self), x, TILE, OVERLAP))

    def decode(self, latents: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b i j 3"]:
        """Latents -> pictures, eq. 1, not clipped. Above 1024 pixels a side piece by piece.

        Raises `ValueError` for latents of other channels, and where what comes out is not finite.
        """
        factor, z = self.config.factor, self.unscaled(self.check_latents(latents))
        images = _pieces(partial(_decode, self), z, TILE // factor, OVERLAP // factor)
        if not isinstance(images, jax.core.Tracer) and not bool(jnp.isfinite(images).all()):
            raise ValueError(
                f"the decoder's pictures have numbers that are not finite, in "
                f"{jnp.dtype(self._autoencoder_dtype)}: load the model with dtype=jnp.float32, or "
                "look at the latents"
            )
        return images

    def show(self, latents: Float[Array | np.ndarray, "b h w c"]) -> Float[Array, "b i j 3"]:
        """Latents -> pictures in [-1, 1], in a moment where there is a tiny autoencoder."""
        if self.preview is None:
            return jnp.clip(self.decode(latents), -1, 1)
        return _show(self, self.check_latents(latents))

    def embed_texts(self, prompts: Texts) -> Embedded:
        """Texts -> (context [B,T,D], pooled [B,P] or None), as the UNet takes them.

        A text longer than the towers' length is cut, with a warning that names it. Raises
        `ValueError` for no texts.
        """
        prompts = texts.as_list(prompts)
        ids = tuple(jnp.asarray(tokenizer(prompts)) for tokenizer in self.tokenizers)
        return _embed(self, ids)

    def predict(
        self,
        x_t: Float[Array | np.ndarray, "b h w c"],
        t: Int[Array | np.ndarray, "..."] | int,
        context: Float[Array | np.ndarray, "b s d"],
        *,
        pooled: Float[Array | np.ndarray, "b p"] | None = None,
        time_ids: Float[Array | np.ndarray, "b n"] | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output for latents at time indices t (scalar or [B]).

        x_t: with all channels that the UNet takes, see `LatentConfig.task`.
        context, pooled: as `embed_texts` gives them.
        time_ids: of SDXL, height and width of the original, top and left of the crop, height and
            width of the picture; by default those of x_t, not cut.
        """
        x_t = jnp.asarray(x_t)
        t = jnp.broadcast_to(jnp.asarray(t, jnp.int32), x_t.shape[:1])
        sizes = self.time_ids(*x_t.shape[:3]) if time_ids is None else jnp.asarray(time_ids)
        cond = self.condition(jnp.asarray(context), pooled, sizes)
        return _predict(self, x_t, t, cond)

    def apply(
        self,
        x_t: Float[Array, "b h w c"],
        t: Int[Array, " b"],
        cond: dict[str, Array],
    ) -> Float[Array, "b h w o"]:
        """The raw network output, to be traced; cond as `condition` makes it."""
        network: Any = UNet(self.config.unet, dtype=self.dtype)
        return network.apply({"params": self.unet}, x_t, t, cond)

    def denoise(self, x_t: Float[Array, "b h w c"], t: Int[Array, "..."], cond: Cond) -> Prediction:
        """The model as a `Denoise`; x0 is never clipped.

        cond: as `condition` makes it; with "concat" [B,H,W,C], further channels that the UNet sees
            after those of x_t.
        """

        def network(x_t: Array, t: Array, cond: Cond) -> Array:
            known = {name: value for name, value in cond.items() if name != "concat"}
            if "concat" in cond:
                x_t = jnp.concatenate([x_t, cond["concat"]], axis=-1)
            return self.apply(x_t, t, known)

        return make_denoise(network, self.config.schedule, self.config.prediction)(x_t, t, cond)

    def condition(
        self,
        context: Float[Array, "b s d"],
        pooled: Float[Array | np.ndarray, "b p"] | None,
        time_ids: Float[Array, "b n"] | None,
    ) -> dict[str, Array]:
        """What the UNet takes beside x_t and t, of what it has a use for.

        Raises `ValueError` where a pooled embedding is missing.
        """
        cond: dict[str, Array] = {"context": context}
        if self.config.unet.pooled_width is not None:
            if pooled is None:
                raise ValueError("this model needs `pooled`, the second value of `embed_texts`")
            cond["pooled"] = jnp.asarray(pooled)
            if time_ids is not None:
                cond["time_ids"] = time_ids
        return cond

    def time_ids(self, batch: int, height: int, width: int) -> Float[Array, "b 6"] | None:
        """SDXL's six numbers of uncut pictures of latents' size; None for other models."""
        if self.config.unet.time_ids is None:
            return None
        sides = height * self.config.factor, width * self.config.factor
        return jnp.tile(jnp.array([*sides, 0, 0, *sides], jnp.float32), (batch, 1))

    def scaled(self, z: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The autoencoder's latents as diffusion sees them, eq. 1."""
        return self.config.autoencoder.scaling * (z - self.config.autoencoder.shift)

    def unscaled(self, latents: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """The inverse of `scaled`."""
        return latents / self.config.autoencoder.scaling + self.config.autoencoder.shift

    def check_latents(
        self, latents: Float[Array | np.ndarray, "b h w c"], count: int | None = None
    ) -> Float[Array, "b h w c"]:
        """Latents as float32. Raises `ValueError` for other channels, and another number of them
        than `count`."""
        channels = self.config.autoencoder.latent_channels
        if latents.shape[-1] != channels or count not in (None, len(latents)):
            many = "N" if count is None else count
            raise ValueError(
                f"latents are {list(latents.shape)}, expected [{many},H,W,{channels}]"
                + (": channels come last" if latents.shape[1] == channels else "")
            )
        return jnp.asarray(latents, jnp.float32)

    @property
    def _autoencoder_dtype(self) -> DType:
        """What the autoencoder computes in, see `AutoencoderConfig.wide_range`."""
        narrow = jnp.dtype(self.dtype) == jnp.float16 and self.config.autoencoder.wide_range
        return jnp.float32 if narrow else self.dtype


def _pieces(apply: Callable[[Array], Array], x: Array, size: int, overlap: int) -> Array:
    """`apply` to all of x, or where a side is above `size` piece by piece."""
    return apply(x) if max(x.shape[1:3]) <= size else tiled(apply, x, size, overlap)


@jax.jit
def _encode(model: LatentDiffusion, images: Array) -> Array:
    network: Any = Autoencoder(model.config.autoencoder, model._autoencoder_dtype)
    return network.apply({"params": model.autoencoder}, images, method="encode").mean


@jax.jit
def _decode(model: LatentDiffusion, z: Array) -> Array:
    network: Any = Autoencoder(model.config.autoencoder, model._autoencoder_dtype)
    return network.apply({"params": model.autoencoder}, z, method="decode")


@jax.jit
def _show(model: LatentDiffusion, latents: Array) -> Array:
    config = model.config.preview or TinyAutoencoderConfig()
    network: Any = TinyAutoencoder(config, model.dtype)
    return jnp.clip(network.apply({"params": model.preview}, latents, method="decode"), -1, 1)


@jax.jit
def _embed(model: LatentDiffusion, ids: tuple[Array, ...]) -> Embedded:
    return texts.encode(model.config.texts, model.texts, ids, model.dtype)


@jax.jit
def _predict(model: LatentDiffusion, x_t: Array, t: Array, cond: dict[str, Array]) -> Array:
    return model.apply(x_t, t, cond)
