"""The noise that a picture came from, by whichever kind of model drew it.

DDIM walked upwards (`diffusion.inversion`) with the model as it was, on the grid of generation, but
without guidance and without a prompt: nobody who looks for a watermark knows those. Low frequencies
come back all the same (Wen et al. 2023, arXiv 2305.20030).
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.data.transforms import to_uint8
from clipdiff_jax.diffusion.inversion import upwards
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.latent import starts
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.pictures.watermark.key import LATENTS, PIXELS, Home
from clipdiff_jax.pixel.model import Classes, Diffusion
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.unclip.walk import draw_noise

Model = Diffusion | LatentDiffusion | UnClip
Invert = Callable[[Float32[np.ndarray, "b s s 3"]], Float[Array | np.ndarray, "b h w c"]]


@dataclass(frozen=True)
class Inverter:
    """How pictures go back to noise.

    Attributes:
      run: pictures in [-1, 1] of `size` pixels -> their noise.
      size: side of those pictures.
      home: where in that noise a watermark is, unless its key says otherwise.
    """

    run: Invert
    size: int
    home: Home


def inverter(
    model: Model, steps: int, *, size: int | None = None, classes: Classes = None
) -> Inverter:
    """The inverter of a model.

    steps: on the way up. size: of pictures of a latent model, the trained size where None. classes:
    of a pixel model that has them. Raises `ValueError` for a size that the model cannot have.
    """
    if isinstance(model, LatentDiffusion):
        return _of_latents(model, steps, size or model.config.image_size)
    own = drawn_size(model)
    if size not in (None, own):
        raise ValueError(f"size={size}: this model draws pictures of {own} pixels")
    return (
        _of_unclip(model, steps) if isinstance(model, UnClip) else _of_pixels(model, steps, classes)
    )


def drawn_size(model: Model) -> int:
    """Side of the pictures that come of noise directly: an unCLIP's before its upsamplers."""
    if isinstance(model, UnClip):
        size: int = model.part("decoder").config.image_size
        return size
    return model.config.image_size


def draw_start(
    model: Diffusion | LatentDiffusion,
    count: int,
    key: AnyKey,
    sampling: Sampling,
    size: int | None = None,
) -> Float[Array, "b h w c"]:
    """The x_T that `generate` draws with this key; size: of pictures of a latent model."""
    keys = picture_keys(key, jnp.arange(count))
    if isinstance(model, Diffusion):
        return model.draw_noise(keys, len(model.times(sampling)))
    times = model.config.sampling.times(sampling, model.config.schedule)
    side = (size or model.config.image_size) // model.config.factor
    return starts.noise(model.config, keys, times, (len(keys), side, side))


def draw_decoder_start(model: UnClip, count: int, key: AnyKey, sampling: Sampling) -> Noise:
    """What the decoder of an unCLIP draws with this key."""
    decoder = model.part("decoder")
    steps = len(sampling.times(decoder.config.schedule)) - 1
    keys = picture_keys(key, jnp.arange(count))
    return draw_noise("decoder", keys, steps, decoder.shape(len(keys)))


def _of_pixels(model: Diffusion, steps: int, classes: Classes) -> Inverter:
    times = model.times(Sampling(steps=steps))[::-1]
    grey = model.config.unet.in_channels == 1

    def run(images: Float32[np.ndarray, "b s s 3"]) -> Array:
        x = images.mean(axis=-1, keepdims=True) if grey else images
        return _invert_pixels(model, times, x, model.check_classes(classes, len(x)))

    return Inverter(run, model.config.image_size, PIXELS)


def _of_latents(model: LatentDiffusion, steps: int, size: int) -> Inverter:
    times = model.config.sampling.times(Sampling(steps=steps), model.config.schedule)[::-1]
    denoiser = model.denoiser

    def run(images: Float32[np.ndarray, "b s s 3"]) -> Array:
        latents = model.codec.encode_batch(jnp.asarray(images))
        texts = model.embed_texts([""] * len(latents))
        cond = denoiser.condition(texts, denoiser.time_ids(*latents.shape[:3]))
        return _invert_latents(model, times, latents, cond)

    return Inverter(run, size, LATENTS)


def _of_unclip(model: UnClip, steps: int) -> Inverter:
    request = Sampling(steps=steps, guidance=1.0, spacing="linspace")

    def run(images: Float32[np.ndarray, "b s s 3"]) -> Array:
        levels = to_uint8(images)  # of any brightness
        return model.invert(levels, model.embed_images(levels), sampling=request)

    return Inverter(run, drawn_size(model), PIXELS)


@stepping("inverting")
def _invert_pixels(model: Diffusion, times: Array, x0: Array, classes: Array | None) -> Steps:
    return upwards(model.denoise, model.config.schedule, times, x0, classes)


@stepping("inverting")
def _invert_latents(
    model: LatentDiffusion, times: Array, x0: Array, cond: dict[str, Array]
) -> Steps:
    return upwards(model.denoise, model.config.schedule, times, x0, cond)
