"""What edits need of a model, of pixels or of latents: to denoise, and to be seen as pictures.

`Diffusion` works on pictures themselves. A latent model is seen as a `LatentBase`: its UNet without
a text (that of "") and without guidance, between the two halves of its autoencoder.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.losses import NoiseLoss
from clipdiff_jax.diffusion.prediction import Cond, Prediction
from clipdiff_jax.latent.codec import Codec
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.load import is_latent, load_latent
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.latent import LatentConfig, init_unet
from clipdiff_jax.models.pixel import DiffusionConfig, init_params
from clipdiff_jax.pixel.load import load_diffusion
from clipdiff_jax.pixel.model import Diffusion
from clipdiff_jax.weights.params import fingerprint

Config = DiffusionConfig | LatentConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class LatentBase:
    """A latent model as edits see it.

    Attributes:
      config: of the model.
      params: of the UNet.
      codec: the autoencoder.
      cond: what the UNet is told of a picture without a text, each [1, ...].
      fingerprint: of the model, a hash of the parameters that its UNet was loaded with.
      dtype: what the networks compute in.
    """

    config: LatentConfig = field(metadata={"static": True})
    params: Params = field(repr=False)
    codec: Codec
    cond: Params
    fingerprint: str = field(metadata={"static": True})
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def apply(self, x_t: Float[Array, "b h w c"], t: Int[Array, " b"]) -> Float[Array, "b h w c"]:
        """The raw network output, to be traced."""
        return Denoiser(self.config, self.params, self.dtype).apply(x_t, t, self._cond(len(x_t)))

    def denoise(
        self, x_t: Float[Array, "b h w c"], t: Int[Array, "..."], cond: Cond = None
    ) -> Prediction:
        """The model as a `Denoise`; cond is not looked at."""
        denoiser = Denoiser(self.config, self.params, self.dtype)
        return denoiser.denoise(x_t, t, self._cond(len(x_t)))

    def _cond(self, count: int) -> dict[str, Array]:
        return {k: jnp.broadcast_to(v, (count, *v.shape[1:])) for k, v in self.cond.items()}


Base = Diffusion | LatentBase
BASES: tuple[type[Base], ...] = (Diffusion, LatentBase)
Model = Diffusion | LatentDiffusion | LatentBase


def as_base(model: Model) -> Base:
    """A model as edits see it; one that is so already stays as it is.

    Raises `ValueError` for one that edits cannot use: of other pictures than RGB, of classes, which
    pictures to be edited do not have, or of another task than text; `TypeError` for another kind of
    model.
    """
    if isinstance(model, LatentBase):
        return model
    if isinstance(model, LatentDiffusion):
        return _latent_base(model)
    if not isinstance(model, Diffusion):
        raise TypeError(
            f"base is a {type(model).__name__}, expected a Diffusion, which load_diffusion "
            "returns, or a LatentDiffusion, which load_latent returns"
        )
    unet = model.config.unet
    if unet.in_channels != 3:
        raise ValueError(
            f"this model draws pictures of {unet.in_channels} channel(s), editing takes one of 3"
        )
    if unet.num_classes is not None:
        raise ValueError(
            f"this model has {unet.num_classes} classes, editing takes one without classes"
        )
    return model


def _latent_base(model: LatentDiffusion) -> LatentBase:
    config = model.config
    if config.task != "text":
        raise ValueError(f"the model's task is '{config.task}', an edit is learned of one of text")
    side = config.latent_size
    cond = model.denoiser.condition(model.embed_texts([""]), model.denoiser.time_ids(1, side, side))
    return LatentBase(config, model.unet, model.codec, cond, model.fingerprint, model.dtype)


def load_model(source: str, *, dtype: DType) -> Model:
    """The model at `source`: a latent one where it is that, else as `load_diffusion` takes it."""
    if is_latent(source):
        return load_latent(source, dtype=dtype)
    return load_diffusion(source, dtype=dtype)


def with_params(base: Base, params: Params) -> Base:
    """The model with other parameters of its network; None for none, to be given later."""
    return replace(base, params=params)


def encoded(base: Base, images: Float[Array, "b h w 3"]) -> Float[Array, "b i j c"]:
    """Pictures -> what the model denoises."""
    return base.codec.encode_batch(images) if isinstance(base, LatentBase) else images


def decoded(base: Base, x: Float[Array, "b i j c"]) -> Float[Array, "b h w 3"]:
    """What the model denoises -> pictures, not clipped."""
    return base.codec.decode(x) if isinstance(base, LatentBase) else x


def fingerprint_of(base: Base) -> str:
    """A hash of everything that pictures become latents by: the network, and what is around it."""
    if isinstance(base, LatentBase):
        around = fingerprint({"codec": base.codec.params, "cond": base.cond})
        return f"{base.fingerprint}-{around}"
    return base.fingerprint


def shape_of(base: Base, count: int) -> tuple[int, int, int, int]:
    """Of what the model denoises, for so many pictures."""
    if isinstance(base, LatentBase):
        side, channels = base.config.latent_size, base.config.autoencoder.latent_channels
        return count, side, side, channels
    return count, base.config.image_size, base.config.image_size, 3


def noise_loss(config: Config) -> NoiseLoss:
    """The loss that the model was trained with."""
    learned = isinstance(config, DiffusionConfig) and config.learned_variance
    return NoiseLoss(config.schedule, config.prediction, learned_variance=learned)


def init_network(config: Config, key: Array) -> Params:
    """New parameters of the model's network."""
    of = init_unet if isinstance(config, LatentConfig) else init_params
    return of(config, key)  # type: ignore[arg-type]
