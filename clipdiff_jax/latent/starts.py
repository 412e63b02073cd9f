"""What a walk starts from: noise, texts as the UNet sees them, scales, one of each a picture."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from clipdiff_jax.core.keys import AnyKey
from clipdiff_jax.diffusion.prediction import Cond, q_sample
from clipdiff_jax.diffusion.sampler import step_noise
from clipdiff_jax.latent import inputs
from clipdiff_jax.latent.denoiser import Denoiser
from clipdiff_jax.latent.requests import Inpainting, Painting, Repainting
from clipdiff_jax.latent.texts import Embedded, Texts
from clipdiff_jax.latent.walk import Rows, Walk
from clipdiff_jax.models.latent import LatentConfig

Embed = Callable[[list[str]], Embedded]


def noise(
    config: LatentConfig,
    keys: Key[Array, " n"],
    times: Int[np.ndarray, " t"],
    shape: tuple[int, ...],
) -> Float[Array, "n h w c"]:
    """Noise of each key for latents of `shape` [n,h,w], other than that of any step of a walk."""
    return step_noise(keys, len(times), (*shape, config.autoencoder.latent_channels))


def begin(
    config: LatentConfig,
    request: Painting,
    key: AnyKey | None,
    shape: tuple[int, ...],
    given: Float[Array, "n h w c"] | None,
) -> tuple[Int[np.ndarray, " t"], Key[Array, " n"], Float[Array, "n h w c"]]:
    """The times of a walk from the noisiest, the pictures' keys, and where it starts: what is
    given, or noise of the keys. shape: of the latents [n,h,w]."""
    keys = inputs.keys_for(key, shape[0], request, given is not None)
    times = config.sampling.times(request, config.schedule)
    return times, keys, noise(config, keys, times, shape) if given is None else given


def walk(times: Int[np.ndarray, " t"], request: Painting, rows: Rows) -> Walk:
    """The whole walk over these times."""
    return Walk(times, np.asarray(0, np.int32), eta(request), rows)


def conditions(
    denoiser: Denoiser,
    embed: Embed,
    texts: list[str],
    negative: Texts | None,
    request: Painting,
    shape: tuple[int, ...],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What the UNet sees of the texts, and what guidance leads away from, `count` of each.

    shape: of the latents [n,h,w].
    """
    away = inputs.negatives(negative, len(texts))
    sizes = denoiser.time_ids(len(texts), *shape[1:3])
    shown = embed(texts)
    if away is None and denoiser.config.zero_null:
        null = jax.tree.map(jnp.zeros_like, shown)
    else:
        null = embed([""] * len(texts) if away is None else away)
    both = denoiser.condition(shown, sizes), denoiser.condition(null, sizes)
    return inputs.repeated(both, request.count)


def repainting(
    denoiser: Denoiser,
    embed: Embed,
    request: Repainting,
    known: Float[Array, "n h w c"],
    texts: list[str],
    negative: Texts | None,
    key: AnyKey | None,
) -> tuple[Walk, Float[Array, "n h w c"]]:
    """A walk from noised latents, and that noise; to inpaint from noise alone at strength 1."""
    config = denoiser.config
    keys = inputs.keys_for(key, len(known), request, False)
    times = config.sampling.times(request, config.schedule)
    first = np.asarray(inputs.first_step(len(times) - 1, float(request.strength)), np.int32)
    drawn = noise(config, keys, times, known.shape[:3])
    noised = q_sample(config.schedule, known, jnp.asarray(times)[first], drawn)
    start = drawn if isinstance(request, Inpainting) and first == 0 else noised
    cond, null = conditions(denoiser, embed, texts, negative, request, known.shape[:3])
    of_rows = rows(config, request, start, keys, cond, (null,))
    return Walk(times, first, eta(request), of_rows), drawn


def rows(
    config: LatentConfig,
    request: Painting,
    start: Float[Array, "n h w c"],
    keys: Key[Array, " n"],
    cond: Cond,
    nulls: tuple[Cond, ...],
) -> Rows:
    """The rows of a walk, with a scale of guidance and of rescaling for each."""
    guidance = config.guidance if request.guidance is None else request.guidance
    scale = inputs.each("guidance", guidance, len(start))
    rescale = inputs.each("rescale", request.rescale, len(start))
    return Rows(start, keys, cond, nulls, scale, rescale)


def eta(request: Painting) -> Float[Array, "..."]:
    """Of DDIM, as an array."""
    return jnp.asarray(request.eta, jnp.float32)
