"""The decoder: small images of CLIP image embeddings and texts.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1. What the network is given of both, the network
as a `Denoise`, its walk from noise to images and the way back.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from clipdiff_jax.core.networks import dropout, run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.guidance import classifier_free
from clipdiff_jax.diffusion.inversion import upwards
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.models.decoder_conditioning import DecoderConditioning
from clipdiff_jax.models.unclip import Decoder, TextFeatures
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.unclip.walk import Walk, steps_of_walk

FIXED_POINT = 2  # iterations per step of inversion, see `diffusion.inversion`


class Shown(NamedTuple):
    """What is decoded, and what guidance moves away from.

    embedding: of B images. text, empty: beside it, and in what guidance moves away from.
    with_image, null_with_image: whether the embedding is seen (None: it is), and whether it is in
    what guidance moves away from (None: it is not).
    """

    embedding: Float[Array, "b d"]
    text: TextFeatures
    empty: TextFeatures
    with_image: Bool[Array, " b"] | None = None
    null_with_image: Bool[Array, " b"] | None = None


class Conditions(NamedTuple):
    """What the network is given of what is decoded, and of what guidance moves away from."""

    cond: dict[str, Array]
    null: dict[str, Array]


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DecoderModel:
    """A decoder; `params` are {"conditioning", "unet"}, `dtype` is what both compute in."""

    config: Decoder = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """Of `count` images and of their noise."""
        size = self.config.image_size
        return count, size, size, 3

    def condition(
        self,
        embedding: Float[Array, "b d"],
        text: TextFeatures,
        with_image: Bool[Array, " b"] | None = None,
    ) -> dict[str, Array]:
        """What the network is given; without the image where `with_image` is False."""
        network = DecoderConditioning(self.config.conditioning, dtype=self.dtype)
        return run(network, self.params["conditioning"], embedding, *text, with_image)

    def apply(
        self,
        x_t: Float[Array, "b h w 3"],
        t: Int[Array, " b"],
        cond: Cond,
        *,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw network output for a `condition`; dropout acts where a `dropout_key` is given."""
        unet = UNet(self.config.network, dtype=self.dtype)
        return run(unet, self.params["unet"], x_t, t, cond, **dropout(dropout_key))

    def denoise(self, x_t: Float[Array, "b h w 3"], t: Int[Array, "..."], cond: Cond) -> Prediction:
        """The decoder as a `Denoise`, without clipping, as inversion needs it."""
        config = self.config
        schedule, target = config.schedule, config.prediction
        return make_denoise(self.apply, schedule, target, config.learned_variance)(x_t, t, cond)

    def draw(self, shown: Shown, walk: Walk, *, sampler: Sampler) -> Float[Array, "b h w 3"]:
        """Small images in [-1, 1]."""
        return _draw(self, _conditions(self, shown), walk, sampler=sampler)

    def invert(
        self,
        images: Float[Array, "b h w 3"],
        shown: Shown,
        guidance: Float[Array, "..."],
        times: Int[Array | np.ndarray, " n"],
    ) -> Float[Array, "b h w 3"]:
        """Small images -> the x_T that DDIM decodes to them (section 3); `times` ascend from -1."""
        return _invert(self, images, _conditions(self, shown), guidance, times)


@jax.jit
def _conditions(decoder: DecoderModel, shown: Shown) -> Conditions:
    """What is decoded, and what guidance moves away from."""
    always = jnp.ones(len(shown.embedding), bool)
    with_image = always if shown.with_image is None else shown.with_image
    null_with_image = ~always if shown.null_with_image is None else shown.null_with_image
    cond = decoder.condition(shown.embedding, shown.text, with_image)
    return Conditions(cond, decoder.condition(shown.embedding, shown.empty, null_with_image))


@stepping("drawing", static_argnames="sampler")
def _draw(decoder: DecoderModel, given: Conditions, walk: Walk, *, sampler: Sampler) -> Steps:
    config = decoder.config
    step = make_step(sampler, config.schedule, StepOptions(walk.eta, config.learned_variance))
    guided = classifier_free(decoder.denoise, given.null, walk.guidance)
    drawn = steps_of_walk(config, guided, step, walk, given.cond)
    return drawn.then(lambda x: jnp.clip(x, -1, 1))


@stepping("inverting")
def _invert(
    decoder: DecoderModel,
    images: Array,
    given: Conditions,
    guidance: Array,
    times: Array,
) -> Steps:
    guided = classifier_free(decoder.denoise, given.null, guidance)
    schedule = decoder.config.schedule
    return upwards(guided, schedule, times, images, given.cond, fixed_point=FIXED_POINT)
