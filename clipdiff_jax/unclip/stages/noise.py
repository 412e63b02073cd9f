"""What the stages of decoder and upsampler share: their noise loss, and the samples in the log."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from clipdiff_jax.core.request import Number
from clipdiff_jax.diffusion.grids import Spacing
from clipdiff_jax.diffusion.losses import NoiseLoss, Weighting
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.models.unclip import Decoder, Noise, Upsampler
from clipdiff_jax.unclip.walk import Walk, make_walk


def noise_loss_of(
    model: Decoder | Upsampler, weighting: Weighting, vlb_weight: Number
) -> NoiseLoss:
    """The loss of a part on its own schedule, target and variance."""
    return NoiseLoss(
        model.schedule, model.prediction, weighting, model.learned_variance, vlb_weight
    )


def preview_walk(
    model: Decoder | Upsampler,
    steps: int,
    spacing: Spacing,
    guidance: Number,
    key: Key[Array, ""],
    shape: tuple[int, ...],
) -> Walk:
    """The walk of the samples in the log, by DDIM: `key` draws where it starts."""
    sampling = Sampling(steps=steps, spacing=spacing)
    start = jax.random.normal(key, shape, jnp.float32)
    noise = Noise(start, jnp.zeros((steps, *start.shape)))
    return make_walk(sampling.times(model.schedule), noise, guidance, sampling)
