"""How a part of an unCLIP goes from noise to the end: what it takes beside the part, and the scan.

A `Walk` holds all that a sampling takes which is traced: changing any of it compiles nothing new,
but for the number of times and of pictures.
"""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.config import nearest
from clipdiff_jax.core.keys import AnyKey, as_key, picture_keys
from clipdiff_jax.core.request import Scale
from clipdiff_jax.diffusion.guidance import clip_x0, dynamic_threshold
from clipdiff_jax.diffusion.prediction import Cond, Denoise
from clipdiff_jax.diffusion.sampler import StepRule, Steps, step_noise, steps_of
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.models.unclip import Decoder, Noise, Prior, Upsampler

# The parts that draw noise; a picture's noise of a part depends on its place in here.
NOISES = ("prior", "decoder", "upsampler", "upsampler_1024")


class Walk(NamedTuple):
    """What a sampling takes.

    times: the grid, see `diffusion.grids`. noise: what is drawn. guidance: scale of classifier-free
    guidance, one or one for each picture. eta: of DDIM. threshold: percentile of dynamic
    thresholding in place of the bound on x0.
    """

    times: Int[Array | np.ndarray, " steps_plus_1"]
    noise: Noise
    guidance: Float[Array, "..."]
    eta: Float[Array, "..."]
    threshold: Float[Array, "..."] | None = None


def make_walk(times: np.ndarray, noise: Noise, guidance: Scale, sampling: Sampling) -> Walk:
    """A walk over these times with a request's eta and threshold."""
    threshold = sampling.threshold
    return Walk(
        times,
        noise,
        jnp.asarray(guidance, jnp.float32),
        jnp.float32(sampling.eta),
        None if threshold is None else jnp.float32(threshold),
    )


def steps_of_walk(
    config: Prior | Decoder | Upsampler, denoise: Denoise, step: StepRule, walk: Walk, cond: Cond
) -> Steps:
    """From the walk's noise to its last time; x0 stays within the config's bound."""
    if walk.threshold is None:
        bounded = clip_x0(denoise, config.schedule, config.bound)
    else:
        bounded = dynamic_threshold(denoise, config.schedule, walk.threshold)
    start, steps = walk.noise
    return steps_of(bounded, step, walk.times, start, cond, steps)


def known_noises(noise: Mapping[str, Noise] | None) -> Mapping[str, Noise]:
    """The same, or none. Raises `ValueError` for noise of a part that draws none."""
    for name in noise or {}:
        if name not in NOISES:
            raise ValueError(
                f"noise for '{name}', not one of {', '.join(NOISES)}.{nearest(name, NOISES)}"
            )
    return noise or {}


def given_or_drawn(
    part: str, noise: Noise | None, key: AnyKey | None, steps: int, shape: tuple[int, ...]
) -> Noise:
    """The noise of a part: that given, or drawn for each picture from its key.

    Raises `ValueError` for noise of other shapes, and where there is neither.
    """
    if noise is not None:
        found, wanted = tuple(np.shape(a) for a in noise), (shape, (steps, *shape))
        if found != wanted:
            raise ValueError(f"the noise of '{part}' has shapes {found}, expected {wanted}")
        return Noise(*map(jnp.asarray, noise))
    if key is None:
        raise ValueError(f"'{part}' draws noise: give a key, or noise")
    return draw_noise(part, key, steps, shape)


def draw_noise(part: str, key: AnyKey, steps: int, shape: tuple[int, ...]) -> Noise:
    """The noise [B, ...] of one of `NOISES`, each picture's from its own key."""
    return _draw_noise(as_key(key), number=NOISES.index(part), steps=steps, shape=shape)


@functools.partial(jax.jit, static_argnames=("number", "steps", "shape"))
def _draw_noise(
    key: Key[Array, "..."], *, number: int, steps: int, shape: tuple[int, ...]
) -> Noise:
    keys = picture_keys(key, jnp.arange(shape[0]))
    own = jax.vmap(functools.partial(jax.random.fold_in, data=number))(keys)
    every = jax.vmap(lambda index: step_noise(own, index, shape))(jnp.arange(steps + 1))
    return Noise(every[0], every[1:])
