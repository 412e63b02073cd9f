"""The noise that a picture came from, by whichever kind of model drew it.

DDIM walked upwards with the model as it was, but without guidance and without a prompt: nobody who
looks for a watermark knows those. Low frequencies come back all the same (Wen et al. 2023, arXiv
2305.20030). Of pixels and latents it is the walk that makes nothing up (`diffusion.inversion`, eq.
11), on a grid of as many steps as one likes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, UInt8

from clipdiff_jax.core.batching import filled_batches
from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.data.transforms import to_float, to_uint8
from clipdiff_jax.diffusion.inversion import upwards_from_clean
from clipdiff_jax.diffusion.prediction import q_sample
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.schedule import NoiseSchedule
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.latent import starts
from clipdiff_jax.latent.model import LatentDiffusion
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.pictures.watermark.key import LATENTS, PIXELS, Home
from clipdiff_jax.pictures.watermark.placement import Expectation
from clipdiff_jax.pixel.model import Classes, Diffusion
from clipdiff_jax.unclip.model import UnClip
from clipdiff_jax.unclip.walk import draw_noise

Model = Diffusion | LatentDiffusion | UnClip
Invert = Callable[[Float32[np.ndarray, "b s s 3"]], Float[Array | np.ndarray, "b h w c"]]
BLIND, SEEING = -3.5, 0.0  # log of signal to noise: hardly anything is seen; half of it is
DRAWN = 16  # pictures in an average


@dataclass(frozen=True)
class Inverter:
    """How pictures go back to noise.

    Attributes:
      run: pictures in [-1, 1] of `size` pixels -> their noise.
      size: side of those pictures.
      home: where in that noise a watermark is, unless its key says otherwise.
      expected: gives what is known of where the model draws what, if anything; so many pictures
        are computed at a time.
    """

    run: Invert
    size: int
    home: Home
    expected: Callable[[int], Expectation] | None = None


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

    def shown(images: Float32[np.ndarray, "b s s 3"]) -> Float32[np.ndarray, "b s s c"]:
        return images.mean(axis=-1, keepdims=True) if grey else images

    def run(images: Float32[np.ndarray, "b s s 3"]) -> Array:
        return _invert_pixels(
            model, times, shown(images), model.check_classes(classes, len(images))
        )

    def expected(batch: int) -> Expectation:
        average = np.asarray(_average(model, model.check_classes(classes, DRAWN)))

        def surprise(
            wholes: UInt8[np.ndarray, "b s s 3"], known: Bool[np.ndarray, "b s s"]
        ) -> Float32[np.ndarray, " b"]:
            found = []
            numbers = np.arange(len(wholes))
            for some, count in filled_batches(numbers, min(batch, len(numbers))):
                of = model.check_classes(classes, len(some))
                x = shown(to_float(wholes[some]))
                found.append(np.asarray(_surprise(model, x, known[some], of))[:count])
            return np.concatenate(found)

        return Expectation(np.broadcast_to(average, (*average.shape[:2], 3)), surprise)

    return Inverter(run, model.config.image_size, PIXELS, expected)


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
    return upwards_from_clean(model.denoise, model.config.schedule, times, x0, classes)


@stepping("inverting")
def _invert_latents(
    model: LatentDiffusion, times: Array, x0: Array, cond: dict[str, Array]
) -> Steps:
    return upwards_from_clean(model.denoise, model.config.schedule, times, x0, cond)


@jax.jit
def _average(model: Diffusion, classes: Array | None) -> Float[Array, "s s c"]:
    """What the model takes noise for in which hardly anything is to be seen."""
    schedule, config = model.config.schedule, model.config
    shape = (DRAWN, config.image_size, config.image_size, config.unet.in_channels)
    t = _time_of(schedule, BLIND)
    noise = schedule.sigma(t) * jax.random.normal(jax.random.key(0), shape)
    return jnp.clip(model.denoise(noise, t, classes).x0, -1, 1).mean(axis=0)


@jax.jit
def _surprise(
    model: Diffusion, x0: Array, known: Array, classes: Array | None
) -> Float[Array, " b"]:
    """The mean square, where the picture is known, of what is said of noise, always the same."""
    schedule = model.config.schedule
    t = _time_of(schedule, SEEING)
    eps = jax.random.normal(jax.random.key(1), x0.shape[1:])
    x = q_sample(schedule, x0, t, jnp.broadcast_to(eps, x0.shape))
    wrong = jnp.square(model.denoise(x, t, classes).eps - eps).mean(axis=-1)
    return (wrong * known).sum(axis=(1, 2)) / known.sum(axis=(1, 2))


def _time_of(schedule: NoiseSchedule, logsnr: float) -> Array:
    """The first time with as much noise, or the last."""
    times = jnp.arange(schedule.num_steps)
    return jnp.minimum((schedule.logsnr(times) > logsnr).sum(), times[-1])
