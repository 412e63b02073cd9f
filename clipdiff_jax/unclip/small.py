"""From small images to their noise and to large ones: what takes pictures that are checked already.

The calls of `unclip.model.UnClip` check what they are given and come here, and so does whatever
goes on with small images that were decoded a moment ago.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.keys import AnyKey
from clipdiff_jax.data.images import Batch, middle_square
from clipdiff_jax.diffusion.sampling import Sampling
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip.calls import Calls
from clipdiff_jax.unclip.decoder import Shown
from clipdiff_jax.unclip.walk import given_or_drawn, known_noises, make_walk

UpsamplerName = Literal["upsampler", "upsampler_1024"]
UPSAMPLERS: tuple[UpsamplerName, ...] = ("upsampler", "upsampler_1024")


def squares(model: Calls, x: Batch) -> Float[Array, "b size size 3"]:
    """`UnClip.small` of pictures."""
    return middle_square(x, model.part("decoder").config.image_size)


def invert(
    model: Calls,
    x: Batch,
    embeddings: Float[Array | np.ndarray, "b d"],
    prompts: Sequence[str] | None,
    sampling: Sampling,
) -> Float[Array, "b h w 3"]:
    """`UnClip.invert` of small images. Raises `ValueError` for another size than the decoder's."""
    decoder = model.part("decoder")
    if x.shape[1:] != (wanted := decoder.shape(1)[1:]):
        raise ValueError(f"images are {x.shape[1:]}, the decoder's are {wanted}")
    text, empty = model.texts_beside(prompts, len(x))
    guidance = model.guidance_of("decoder", sampling.guidance)
    times = sampling.times(decoder.config.schedule)[::-1]
    return decoder.invert(x, Shown(jnp.asarray(embeddings), text, empty), guidance, times)


def upsample(
    model: Calls,
    x: Batch,
    key: AnyKey | None,
    sampling: Sampling,
    name: UpsamplerName,
    noise: Noise | None,
) -> Float[Array, "b size size 3"]:
    """`UnClip.upsample` of small images. Raises `ValueError` for a guidance: there is no text."""
    upsampler = model.part(name)
    if sampling.guidance is not None:
        raise ValueError(f"guidance={sampling.guidance}: an upsampler is not guided")
    times, shape = sampling.times(upsampler.config.schedule), upsampler.shape(len(x))
    drawn = given_or_drawn(name, noise, key, len(times) - 1, shape)
    return upsampler.draw(x, make_walk(times, drawn, 1.0, sampling), sampler=sampling.sampler)


def upsample_all(
    model: Calls,
    x: Batch,
    key: AnyKey | None,
    sampling: Sampling,
    noise: Mapping[str, Noise] | None = None,
    size: int | None = None,
) -> Float[Array, "b size size 3"]:
    """`UnClip.upsample_all` of small images, or as far as they have `size` pixels a side."""
    noise = known_noises(noise)
    for name in UPSAMPLERS:
        if name in model.loaded and x.shape[1] != size:
            x = upsample(model, x, key, sampling, name, noise.get(name))
    return x
