"""What a latent diffusion model is: an autoencoder, text towers and a UNet that denoises latents.

Rombach et al. 2022, arXiv 2112.10752 (Stable Diffusion 1 and 2); Podell et al. 2023, arXiv
2307.01952 (SDXL: two towers, and the picture's size as numbers). `LatentConfig` describes one;
`clipdiff_jax.latent` is what it computes.
"""

from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from clipdiff_jax.core.types import Params
from clipdiff_jax.diffusion.schedule import DiscreteSchedule
from clipdiff_jax.models import autoencoder, taesd
from clipdiff_jax.models.autoencoder import AutoencoderConfig
from clipdiff_jax.models.clip import TextConfig, TextTransformer
from clipdiff_jax.models.pixel import OwnSampling
from clipdiff_jax.models.taesd import TinyAutoencoderConfig
from clipdiff_jax.models.unet import UNet, UNetConfig

Task = Literal["text", "inpaint", "instruct"]
SCALED_LINEAR = DiscreteSchedule("scaled_linear", 1000, 0.00085, 0.012)
# The walk of Stable Diffusion's own samplers: times 1, 1 + S, ..., which end at time 0.
WALK = OwnSampling(bound=None, spacing="leading", offset=1, ends_clean=False)


@dataclass(frozen=True)
class TextTower:
    """A CLIP text tower as a latent model reads it.

    Attributes:
      tower: the transformer.
      projection_dim: width of the pooled embedding; None where the model has none.
      skip: how many blocks before the end the states are taken: 0 the last's, 1 those before it.
      final_norm: whether those states pass the final norm. The pooled embedding always does, and
        always is of the last block.
    """

    tower: TextConfig = field(default_factory=TextConfig)
    projection_dim: int | None = None
    skip: int = 0
    final_norm: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.skip < self.tower.depth:
            raise ValueError(
                f"skip is {self.skip}, expected 0 to {self.tower.depth - 1}: the tower has "
                f"{self.tower.depth} blocks"
            )


@dataclass(frozen=True)
class LatentConfig:
    """Describes a latent diffusion model.

    Attributes:
      unet: the network; it attends to the towers' states side by side (`context_width`), and where
        it has a `pooled_width` the last tower's pooled embedding is added.
      autoencoder: pictures to latents and back.
      texts: the text towers.
      image_size: side in pixels of the square pictures it was trained on.
      task: what the UNet sees beside noisy latents: "text" nothing; "inpaint" a mask and the
        latents of what it leaves; "instruct" the latents of the picture that is to be changed.
      schedule: the noise schedule.
      prediction: what the network outputs.
      guidance: scale of classifier-free guidance where a call does not say otherwise.
      zero_null: where no negative prompt is given, the text that guidance leads away from is zeros
        instead of "" (SDXL).
      sampling: how it is sampled where a call does not say otherwise.
      preview: the tiny autoencoder, where the model has one.
    """

    unet: UNetConfig
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    texts: tuple[TextTower, ...] = (TextTower(),)
    image_size: int = 512
    task: Task = "text"
    schedule: DiscreteSchedule = SCALED_LINEAR
    prediction: Literal["eps", "v"] = "eps"
    guidance: float = 7.5
    zero_null: bool = False
    sampling: OwnSampling = WALK
    preview: TinyAutoencoderConfig | None = None

    def __post_init__(self) -> None:
        if not self.texts:
            raise ValueError("a latent diffusion model needs at least one text tower")
        latent = self.autoencoder.latent_channels
        more = {"text": 0, "inpaint": 1 + latent, "instruct": latent}[self.task]
        last = self.texts[-1].projection_dim
        claims = {
            "in_channels": (self.unet.in_channels, latent + more, f"for the task '{self.task}'"),
            "out_channels": (self.unet.out_channels, latent, "the autoencoder's channels"),
            "context_width": (
                self.unet.context_width,
                sum(one.tower.width for one in self.texts),
                "the width of the text towers together",
            ),
            "pooled_width": (self.unet.pooled_width or last, last, "the last tower's projection"),
        }
        for name, (found, wanted, why) in claims.items():
            if found != wanted:
                raise ValueError(f"unet.{name} is {found}, expected {wanted}, {why}")
        if self.image_size % self.factor:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of the autoencoder's factor "
                f"{self.factor}"
            )
        if self.preview is not None:
            channels, factor = self.preview.latent_channels, self.preview.factor
            if (channels, factor) != (latent, self.factor):
                raise ValueError(
                    f"preview has {channels} latent channels and factor {factor}, expected "
                    f"{latent} and {self.factor}"
                )

    @property
    def factor(self) -> int:
        """Pixels, along a side, that one position of the latents stands for."""
        return self.autoencoder.factor

    @property
    def latent_size(self) -> int:
        """Side of the latents of a picture of `image_size`."""
        return self.image_size // self.factor


def init_unet(config: LatentConfig, key: Key[Array, ""]) -> Params:
    """New parameters of the UNet (float32)."""
    unet, size = config.unet, config.unet.stride
    x, t = jnp.zeros((1, size, size, unet.in_channels)), jnp.zeros((1,), jnp.int32)
    cond = {"context": jnp.zeros((1, 1, unet.context_width))}
    if unet.pooled_width is not None:
        cond["pooled"] = jnp.zeros((1, unet.pooled_width))
    if unet.time_ids is not None:
        cond["time_ids"] = jnp.zeros((1, unet.time_ids))
    return UNet(unet).init(key, x, t, cond)["params"]


def init_text(tower: TextTower, key: Key[Array, ""]) -> Params:
    """New parameters of a text tower (float32)."""
    ids = jnp.zeros((1, tower.tower.context_length), jnp.int32)
    return TextTransformer(tower.tower, tower.projection_dim).init(key, ids)["params"]


def init_params(config: LatentConfig, key: Key[Array, ""]) -> Params:
    """New parameters (float32) of all parts but the text towers: {"unet", "autoencoder"} and,
    where there is one, "preview"."""
    keys = jax.random.split(key, 3)
    params = {
        "unet": init_unet(config, keys[0]),
        "autoencoder": autoencoder.init_params(config.autoencoder, keys[1]),
    }
    if config.preview is not None:
        params["preview"] = taesd.init_params(config.preview, keys[2])
    return params
