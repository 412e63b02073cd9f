"""CLIP image embeddings of prompts by whichever prior there is, the best of several candidates.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2 draws two embeddings of a text and keeps the one
with the larger dot product with the text's own.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.request import Scale
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip.calls import Calls
from clipdiff_jax.unclip.drawing import PriorSampling
from clipdiff_jax.unclip.priors.autoregressive import ARPriorModel, dot_products
from clipdiff_jax.unclip.priors.direct import DirectPriorModel
from clipdiff_jax.unclip.walk import given_or_drawn, make_walk


def embed_prompts(
    model: Calls,
    prompts: Sequence[str],
    key: AnyKey | None,
    sampling: PriorSampling,
    noise: Noise | None,
) -> Float[Array, "b d"]:
    """What `UnClip.embed_prompts` draws. Raises `ValueError` where key and noise do not fit."""
    name, candidates, count = model.prior_name(sampling.prior), sampling.candidates, len(prompts)
    prior = model.part(name)
    if isinstance(prior, DirectPriorModel):
        return prior.draw(model.encode_texts(prompts))
    text, empty = model.encode_with_empty([p for p in prompts for _ in range(candidates)])
    if key is not None and candidates > 1:
        key = _candidate_keys(picture_keys(key, jnp.arange(count)), candidates)
    guidance = _for_each(model.guidance_of(name, sampling.guidance), candidates)
    if isinstance(prior, ARPriorModel):
        if key is None or noise is not None:
            raise ValueError("'ar_prior' draws codes: give a key, and no noise")
        keys = picture_keys(key, jnp.arange(count * candidates))
        temperature = _for_each(sampling.temperature, candidates)
        z = prior.draw(text, empty, guidance, temperature, keys)
    else:
        times, shape = sampling.times(prior.config.schedule), prior.shape(count * candidates)
        drawn = given_or_drawn(name, noise, key, len(times) - 1, shape)
        walk = make_walk(times, drawn, guidance, sampling)
        z = prior.draw(text, empty, walk, sampler=sampling.sampler)
    return z if candidates == 1 else _most_alike(z, text.embedding, candidates)


def _candidate_keys(keys: Key[Array, " b"], candidates: int) -> Key[Array, " n"]:
    """Those of a picture follow each other."""
    fold = jax.vmap(jax.random.fold_in, (None, 0))
    return jax.vmap(fold, (0, None))(keys, jnp.arange(candidates)).reshape(-1)


def _for_each(scale: Scale, candidates: int) -> Float[Array, "..."]:
    scale = jnp.asarray(scale, jnp.float32)
    return scale if scale.ndim == 0 else jnp.repeat(scale, candidates)


def _most_alike(
    z: Float[Array, "n d"], text: Float[Array, "n d"], candidates: int
) -> Float[Array, "b d"]:
    """Of each picture's candidates the one with the highest cosine to its text."""
    alike = dot_products(z, text).reshape(-1, candidates)
    z = z.reshape(-1, candidates, z.shape[-1])
    return jnp.take_along_axis(z, alike.argmax(axis=1)[:, None, None], axis=1)[:, 0]
