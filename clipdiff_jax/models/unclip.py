"""What the stages of an unCLIP are: networks, each with what it was trained with.

Ramesh et al. 2022, arXiv 2204.06125. A stage is one of these configs and a parameter pytree; what
they compute is in `unclip_networks.py`. `Noise` and `TextFeatures` are what passes between them.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.diffusion.karlo import KarloSchedule
from clipdiff_jax.diffusion.prediction import Target
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models.clip import CLIPConfig, TextConfig, VisionTransformerConfig
from clipdiff_jax.models.decoder_conditioning import DecoderConditioningConfig
from clipdiff_jax.models.diffusion_prior import DiffusionPriorConfig
from clipdiff_jax.models.resnet import ModifiedResNetConfig
from clipdiff_jax.models.unet import UNetConfig


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
      network: sees [x_t, enlarged image].
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


StageConfig = TextEncoder | ImageEncoder | Prior | Decoder | Upsampler
