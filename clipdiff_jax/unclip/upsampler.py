"""The upsampler: large images of small ones, without a text and without guidance.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1. The small image, resized, lies beside x_t as
further channels (Saharia et al. 2021, arXiv 2104.07636).
"""

import functools
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.networks import dropout, run
from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.diffusion.prediction import Cond, Prediction, make_denoise
from clipdiff_jax.diffusion.sampler import Steps
from clipdiff_jax.diffusion.stepping import stepping
from clipdiff_jax.diffusion.steps import Sampler, StepOptions, make_step
from clipdiff_jax.models.unclip import Noise, Upsampler, networks_of
from clipdiff_jax.models.unet import UNet
from clipdiff_jax.unclip.walk import Walk, steps_of_walk


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class UpsamplerModel:
    """An upsampler; `params` are its networks' by name, `dtype` is what they compute in."""

    config: Upsampler = field(metadata={"static": True})
    params: Params = field(repr=False)
    dtype: DType = field(default=jnp.float32, metadata={"static": True})

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """Of `count` large images and of their noise."""
        size = self.config.image_size
        return count, size, size, 3

    def apply(
        self,
        x_t: Float[Array, "b h w 3"],
        t: Int[Array, " b"],
        low: Float[Array, "b h w 3"],
        *,
        network: str,
        dropout_key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b h w o"]:
        """The raw output of one of the networks (`models.unclip.networks_of`).

        low: the small image, resized to x_t's size. Dropout acts where a `dropout_key` is given.
        """
        x = jnp.concatenate([x_t, low.astype(x_t.dtype)], axis=-1)
        unet = UNet(self.config.network, dtype=self.dtype)
        return run(unet, self.params[network], x, t, **dropout(dropout_key))

    def denoise(
        self,
        x_t: Float[Array, "b h w 3"],
        t: Int[Array, "..."],
        low: Cond,
        *,
        network: str,
    ) -> Prediction:
        """One of the networks as a `Denoise`, given the small image resized."""
        config = self.config
        apply = functools.partial(self.apply, network=network)
        denoise = make_denoise(apply, config.schedule, config.prediction, config.learned_variance)
        return denoise(x_t, t, low)

    def draw(
        self, images: Float[Array, "b h w 3"], walk: Walk, *, sampler: Sampler
    ) -> Float[Array, "b size size 3"]:
        """Small images in [-1, 1] -> large ones; the last step is the last network's.

        A walk's guidance is not looked at.
        """
        return _drawn(self, images, walk, sampler)


def resize(images: Float[Array, "b h w 3"], size: int) -> Float[Array, "b size size 3"]:
    """The small images as the network sees them: bicubic, anti-aliased."""
    return jax.image.resize(images, (len(images), size, size, 3), "cubic", antialias=True)


def _drawn(
    upsampler: UpsamplerModel, images: Array, walk: Walk, sampler: Sampler
) -> Float[Array, "b size size 3"]:
    config = upsampler.config
    x, steps = walk.noise
    times, low = walk.times, _resized(images, size=config.image_size)
    run = functools.partial(_draw, upsampler, low, sampler=sampler)
    if config.last:
        before = walk._replace(times=times[:-1], noise=Noise(x, steps[:-1]))
        x = run(before, network="first")
        times, steps = times[-2:], steps[-1:]
    rest = walk._replace(times=times, noise=Noise(x, steps))
    return jnp.clip(run(rest, network=networks_of(config)[-1]), -1, 1)


@functools.partial(jax.jit, static_argnames="size")
def _resized(images: Array, *, size: int) -> Float[Array, "b size size 3"]:
    return resize(images, size)


@stepping("upsampling", static_argnames=("sampler", "network"))
def _draw(
    upsampler: UpsamplerModel, low: Array, walk: Walk, *, sampler: Sampler, network: str
) -> Steps:
    config = upsampler.config
    step = make_step(sampler, config.schedule, StepOptions(walk.eta, config.learned_variance))
    denoise = functools.partial(upsampler.denoise, network=network)
    return steps_of_walk(config, denoise, step, walk, low)
