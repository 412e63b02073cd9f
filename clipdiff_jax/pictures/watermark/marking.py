"""Drawing pictures with a watermark: the key's pattern goes into the noise that they start from.

It needs a sampler that draws nothing on its way, and is in whatever the model makes of that noise.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from clipdiff_jax.core.checks import whole_number
from clipdiff_jax.core.keys import AnyKey
from clipdiff_jax.core.request import fill
from clipdiff_jax.data.tokenize import as_texts
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.diffusion.tree_ring import marked
from clipdiff_jax.latent.model import GENERATION, LatentDiffusion
from clipdiff_jax.latent.requests import FromNoise, Generation, filled
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.pictures.watermark.inverters import Model, draw_decoder_start, draw_start
from clipdiff_jax.pictures.watermark.key import LATENTS, PIXELS, Home, Key
from clipdiff_jax.pixel.model import DEFAULT, Diffusion
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.model import UnClip

_STOCHASTIC = ("ancestral", "analytic")


def tree_ring(
    noise: Float[Array | np.ndarray, "b h w c"], mark: Key, home: Home = PIXELS
) -> Float32[np.ndarray, "b h w c"]:
    """Noise of pictures, with the mark in it; every other frequency stays as it is,
    and so does what is at right angles to the key's channel, or to the mean of all.

    home: where, if the key does not say: `PIXELS` or `LATENTS`. Raises `ValueError` for a channel
    that the noise has not, and a radius above a quarter of its side.
    """
    x = np.asarray(noise, np.float32)
    direction, band = mark.place(x.shape[1:], home)
    return marked(x, mark.secret, mark.pattern, band, direction)


def check_sampling(mark: Key, sampling: Sampling | Drawing) -> None:
    """Raises `ValueError` for a way to sample that the mark would not survive, or that the key
    forbids."""
    name, eta = sampling.sampler, np.asarray(sampling.eta)
    if callable(name):
        raise ValueError(
            "a sampler of your own may draw noise on its way, which no watermark survives: mark "
            "the noise yourself (clipdiff_jax.watermark.tree_ring) if it draws none"
        )
    if name in _STOCHASTIC or eta.any():
        what = f"sampler {name!r}" if name in _STOCHASTIC else f"eta={sampling.eta}"
        raise ValueError(
            f"{what} draws noise on its way, which no watermark survives: take sampler 'ddim' "
            "with eta 0, 'dpm_solver' or 'heun'"
        )
    if mark.steps is not None and mark.steps != sampling.steps:
        raise ValueError(
            f"steps={sampling.steps}, but the watermark key is for {mark.steps} (its field 'steps')"
        )


def check_size(mark: Key, size: int) -> None:
    """Raises `ValueError` for pictures of another size than the key is for."""
    if mark.size not in (None, size):
        raise ValueError(f"pictures of {size} pixels, but the watermark key is for {mark.size}")


def marked_start(
    model: Diffusion | LatentDiffusion, mark: Key, count: int, key: AnyKey, sampling: Sampling
) -> Float32[np.ndarray, "b h w c"]:
    """x_T of pictures with the mark: `noise=` of a pixel model, `latents=` of a latent one.

    It is what `generate` draws with the same `key` but for the mark. Raises `ValueError` as
    `check_sampling` does, and for pictures that are not square, which detection makes them.
    """
    check_sampling(mark, sampling)
    size = model.config.image_size
    if isinstance(sampling, FromNoise):
        height, width = sampling.height or size, sampling.width or size
        if height != width:
            raise ValueError(f"pictures of {height}x{width}: only square ones are watermarked")
        size = height
    check_size(mark, size)
    noise = draw_start(model, count, key, sampling, size)
    return tree_ring(noise, mark, PIXELS if isinstance(model, Diffusion) else LATENTS)


def marked_decoder_start(
    model: UnClip, mark: Key, count: int, key: AnyKey, sampling: Sampling
) -> Noise:
    """The same of an unCLIP's decoder: `noise={"decoder": ...}` of `generate`."""
    check_sampling(mark, sampling)
    check_size(mark, model.part("decoder").config.image_size)
    drawn = draw_decoder_start(model, count, key, sampling)
    return drawn._replace(start=jnp.asarray(tree_ring(drawn.start, mark)))


def generate(
    model: Model, mark: Key, what: int | str | Sequence[str] = 1, *, key: AnyKey, **options: Any
) -> Float[Array, "n h w c"]:
    """`model.generate(what, key=key, **options)` with the mark in every picture.

    what: how many, of a pixel model; else the prompts.

    An unCLIP is sampled by "ancestral" unless told otherwise: give `sampler="ddim"`. Raises what
    `check_sampling` and the model's `generate` raise.
    """
    given = options.pop("drawing" if isinstance(model, UnClip) else "sampling", None)
    if isinstance(model, Diffusion):
        of, others = _split(Sampling, options)
        sampling = fill(DEFAULT, given, of)
        count = whole_number("count", what, low=1)
        noise = marked_start(model, mark, count, key, sampling)
        return model.generate(count, key=key, noise=noise, sampling=sampling, **others)
    prompts = as_texts(what)
    if isinstance(model, LatentDiffusion):
        of, others = _split(Generation, options)
        request = filled(GENERATION, given, of)
        latents = marked_start(model, mark, len(prompts) * request.count, key, request)
        return model.generate(prompts, key=key, latents=latents, sampling=request, **others)
    of, others = _split(Drawing, options)
    drawing = fill(Drawing(), given, of)
    start = marked_decoder_start(model, mark, len(prompts), key, drawing.of_decoder)
    noises = {**(others.pop("noise", None) or {}), "decoder": start}
    return model.generate(prompts, key=key, drawing=drawing, noise=noises, **others)


def _split(cls: type, options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options that are fields of a request, and the others."""
    names = {one.name for one in dataclasses.fields(cls)}
    return {n: options[n] for n in options if n in names}, {
        n: options[n] for n in options if n not in names
    }
