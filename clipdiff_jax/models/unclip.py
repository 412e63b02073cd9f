"""What an unCLIP consists of: networks, each with the schedule and target it was trained with.

Ramesh et al. 2022, arXiv 2204.06125. A part of an unCLIP is one of these configs and a parameter
pytree (`init_params`); `clipdiff_jax.unclip` is what they compute. `Noise` and `TextFeatures` are
what passes between them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.clip import (
    CLIPConfig,
    TextConfig,
    TextTransformer,
    VisionTransformer,
    VisionTransformerConfig,
)
from clipdiff_jax.models.decoder_conditioning import (
    DecoderConditioning,
    DecoderConditioningConfig,
)
from clipdiff_jax.models.diffusion_prior import DiffusionPrior, DiffusionPriorConfig
from clipdiff_jax.models.resnet import ModifiedResNet, ModifiedResNetConfig
from clipdiff_jax.models.unet import UNet, UNetConfig


class Noise(NamedTuple):
    """What a sampler draws: `start` [B, ...] at the noisiest time and `steps` [S, B, ...]."""

    start: Array
    steps: Array


class TextFeatures(NamedTuple):
    """What the text tower of CLIP says of B texts of T tokens."""

    embedding: Float[Array, "b d"]
    hidden: Float[Array, "b t w"]
    mask: Bool[Array, "b t"]  # True up to the end-of-text token
    ids: Int[Array, "b t"]


@dataclass(frozen=True)
class TextEncoder:
    """CLIP's text tower and the width of its projected embedding."""

    tower: TextConfig = field(default_factory=TextConfig)
    embedding_width: int = 768


@dataclass(frozen=True)
class ImageEncoder:
    """CLIP's image tower, the width of its projected embedding and how its pixels are normalised"""

    tower: VisionTransformerConfig | ModifiedResNetConfig = field(
        default_factory=VisionTransformerConfig
    )
    embedding_width: int = 768
    mean: tuple[float, float, float] = CLIPConfig.image_mean
    std: tuple[float, float, float] = CLIPConfig.image_std


Schedule = KarloSchedule | DiscreteSchedule


@dataclass(frozen=True)
class Prior:
    """The network predicts x0, a normalised embedding, kept within `bound`.

    guidance: the scale of classifier-free guidance where none is asked for.
    """

    network: DiffusionPriorConfig = field(default_factory=DiffusionPriorConfig)
    schedule: Schedule = field(default_factory=KarloSchedule)
    bound: float = 5.0
    guidance: float = 4.0


@dataclass(frozen=True)
class Decoder:
    """Small images from conditioning.

    Attributes:
      network: its `pooled_width` and `context_width` are those of `conditioning`.
      conditioning: what embeddings and texts become.
      image_size: side of the square images in pixels.
      schedule: the noise schedule.
      bound: x0 is kept within it.
      prediction: what the network outputs.
      learned_variance: whether the second half of the output is the variance.
      guidance: the scale of classifier-free guidance where none is asked for.
    """

    network: UNetConfig
    conditioning: DecoderConditioningConfig = field(default_factory=DecoderConditioningConfig)
    image_size: int = 64
    schedule: Schedule = field(default_factory=KarloSchedule)
    bound: float = 1.0
    prediction: Target = "eps"
    learned_variance: bool = True
    guidance: float = 8.0

    def __post_init__(self) -> None:
        _check_channels(self.network, 3, self.learned_variance)
        unet, joint = self.network, self.conditioning
        pairs = {
            "pooled_width": (unet.pooled_width, joint.pooled_width),
            "context_width": (unet.context_width, joint.context_width),
        }
        for name, (found, wanted) in pairs.items():
            if found != wanted:
                raise ValueError(
                    f"network.{name} is {found}, but conditioning.{name} is {wanted}: make them one"
                )
        if self.image_size % unet.stride:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of the network's stride {unet.stride}"
            )


@dataclass(frozen=True)
class Upsampler:
    """Large images from small ones; no text, no guidance.

    Attributes:
      network: sees [x_t, resized image].
      image_size, low_size: sides of the large and of the small images in pixels.
      schedule: the noise schedule.
      bound: x0 is kept within it.
      prediction: what the network outputs.
      learned_variance: whether the second half of the output is the variance.
      last: a second network of the same kind takes the last step, as in Karlo.
    """

    network: UNetConfig
    image_size: int = 256
    low_size: int = 64
    schedule: Schedule = field(default_factory=KarloSchedule)
    bound: float = 1.0
    prediction: Target = "eps"
    learned_variance: bool = False
    last: bool = True

    def __post_init__(self) -> None:
        _check_channels(self.network, 6, self.learned_variance)
        if self.image_size % self.network.stride:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of the network's stride "
                f"{self.network.stride}"
            )
        if not 0 < self.low_size < self.image_size:
            raise ValueError(f"low_size {self.low_size} is not below image_size {self.image_size}")


def _check_channels(network: UNetConfig, channels: int, learned_variance: bool) -> None:
    wanted = channels, 6 if learned_variance else 3
    if (network.in_channels, network.out_channels) != wanted:
        raise ValueError(
            f"network.in_channels and out_channels are {network.in_channels} and "
            f"{network.out_channels}, expected {wanted[0]} and {wanted[1]} with "
            f"learned_variance={learned_variance}"
        )


PartConfig = TextEncoder | ImageEncoder | Prior | Decoder | Upsampler


def init_params(config: PartConfig, key: Array) -> Params:
    """New parameters (float32) of one part, by the name of each of its networks."""
    t = jnp.zeros((1,), jnp.int32)
    if isinstance(config, TextEncoder):
        ids = jnp.zeros((1, config.tower.context_length), jnp.int32)
        return {"text": text_tower(config).init(key, ids)["params"]}
    if isinstance(config, ImageEncoder):
        size = config.tower.image_size
        return {"vision": image_tower(config).init(key, jnp.zeros((1, size, size, 3)))["params"]}
    if isinstance(config, Prior):
        c = config.network
        text = empty_features(c.embedding_width, c.text_width, c.text_length)
        prior = DiffusionPrior(c).init(key, jnp.zeros((1, c.embedding_width)), t, text._asdict())
        return {"prior": prior["params"]}
    if isinstance(config, Decoder):
        d = config.conditioning
        length = 1 if d.text_encoder is None else d.text_encoder.context_length
        text = empty_features(d.embedding_width, d.text_width, length)
        conditioning = DecoderConditioning(d)
        image = jnp.zeros((1, d.embedding_width))
        cond, params = conditioning.init_with_output(key, image, *text)
        x = _blank(config.network)
        unet = UNet(config.network).init(jax.random.fold_in(key, 1), x, t, cond)
        return {"conditioning": params["params"], "unet": unet["params"]}
    x = _blank(config.network)
    keys = jax.random.split(key, len(networks_of(config)))
    unets = (UNet(config.network).init(k, x, t)["params"] for k in keys)
    return dict(zip(networks_of(config), unets, strict=True))


def networks_of(config: Upsampler) -> tuple[str, ...]:
    """The names of an upsampler's networks; the last one takes the last step."""
    return ("first", "last") if config.last else ("unet",)


def text_tower(config: TextEncoder, dtype: DType | None = None) -> TextTransformer:
    return TextTransformer(config.tower, config.embedding_width, dtype=dtype)


def image_tower(
    config: ImageEncoder, dtype: DType | None = None
) -> ModifiedResNet | VisionTransformer:
    tower = config.tower
    if isinstance(tower, ModifiedResNetConfig):
        return ModifiedResNet(tower, config.embedding_width, dtype=dtype)
    return VisionTransformer(tower, config.embedding_width, dtype=dtype)


def empty_features(embedding_width: int, hidden_width: int, length: int) -> TextFeatures:
    """Features of one text in the right shapes, all zero: for initialisation."""
    hidden = jnp.zeros((1, length, hidden_width))
    mask, ids = jnp.ones((1, length), bool), jnp.zeros((1, length), jnp.int32)
    return TextFeatures(jnp.zeros((1, embedding_width)), hidden, mask, ids)


def _blank(config: UNetConfig) -> Array:
    return jnp.zeros((1, config.stride, config.stride, config.in_channels))
