"""What a user hands to a latent diffusion model, checked and brought to one number of pictures."""

import math
import warnings
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.request import Scale
from clipdiff_jax.data.images import Pictures, as_images
from clipdiff_jax.data.tokenize import Tokenizer, as_texts
from clipdiff_jax.latent.requests import FromNoise, Painting
from clipdiff_jax.latent.texts import Texts
from clipdiff_jax.models.autoencoder import check_sides
from clipdiff_jax.models.latent import LatentConfig

T = TypeVar("T")  # a pytree
Mask = Shaped[Array | np.ndarray, "..."]
FAR = 2.0  # times the trained size, up or down, at which pictures fall apart
_DRAWN_BY = ("ancestral",)  # samplers that draw whatever eta is


def check_size(config: LatentConfig, height: int, width: int) -> None:
    """Raises `ValueError` for sides that the autoencoder cannot halve often enough; warns of
    pictures far from the trained size."""
    check_sides(height, width, config.factor)
    ratio = math.sqrt(height * width) / config.image_size
    if not 1 / FAR <= ratio <= FAR:
        warnings.warn(
            f"a picture of {height}x{width} pixels is far from the {config.image_size} that the "
            "model was trained at: expect parts that repeat or are missing",
            stacklevel=4,
        )


def latent_shape(
    config: LatentConfig,
    request: FromNoise,
    count: int,
    start: Float[Array, "n h w c"] | None = None,
) -> tuple[int, int, int]:
    """How many latents of which sides: those asked for, those of `start`, or those trained at.

    Raises `ValueError` for sides that do not fit, or do not fit `start`; warns as `check_size`.
    """
    given = (None, None) if start is None else [n * config.factor for n in start.shape[1:3]]
    height = request.height or given[0] or config.image_size
    width = request.width or given[1] or config.image_size
    check_size(config, height, width)
    shape = (count, height // config.factor, width // config.factor)
    if start is not None and start.shape[:3] != shape:
        raise ValueError(
            f"latents are {list(start.shape)}, expected {list(shape)} for {height}x{width}"
        )
    return shape


def check_task(config: LatentConfig, *tasks: str) -> None:
    """Raises `ValueError` where the model was trained for another task than those."""
    if config.task not in tasks:
        hint = {
            "text": "it has no channels for more: give an inpainting or an instruction model",
            "inpaint": "this is an inpainting model: call inpaint, with a mask",
            "instruct": "this model changes pictures by instructions: call instruct",
        }
        raise ValueError(f"the model's task is '{config.task}': {hint[config.task]}")


def first_tokenizer(tokenizers: tuple[Tokenizer, ...]) -> Tokenizer:
    """That of the first text tower; those of one model cut texts alike. Raises `ValueError` where
    there is none."""
    if not tokenizers:
        raise ValueError("this model has no tokenizer: give `tokenizer=` to load_latent")
    return tokenizers[0]


def picture_and_text(images: Pictures, prompts: Texts) -> tuple[Float[Array, "n h w 3"], list[str]]:
    """Pictures and texts, as many of one as of the other: a single one goes with all.

    Raises `ValueError` where neither is single and their numbers differ.
    """
    x, texts = as_images(images), as_texts(prompts, "prompts")
    count = max(len(x), len(texts))
    if len(x) not in (1, count) or len(texts) not in (1, count):
        raise ValueError(f"{len(texts)} prompts and {len(x)} pictures: expected one, or as many")
    x = jnp.broadcast_to(x, (count, *x.shape[1:])) if len(x) == 1 else x
    return x, texts * count if len(texts) == 1 else texts


def negatives(negative: Texts | None, count: int) -> list[str] | None:
    """A negative prompt for each of `count` prompts; None where none is given.

    Raises `ValueError` for another number of them.
    """
    if negative is None:
        return None
    texts = as_texts(negative, "negative")
    if len(texts) not in (1, count):
        raise ValueError(
            f"{len(texts)} negative prompts for {count} prompts: expected 1 or {count}"
        )
    return texts * count if len(texts) == 1 else texts


def as_mask(mask: Mask, images: Float[Array, "n h w 3"]) -> Float[Array, "n h w 1"]:
    """1 where pictures are painted anew, at least half of the range; for each picture.

    mask: [H,W], [N,H,W] or [N,H,W,1] of booleans, uint8 0 .. 255 or numbers from 0 to 1.

    Raises `TypeError` for numbers of another type, `ValueError` for another size or range, and for
    a mask that is nowhere at least half.
    """
    values = np.asarray(mask)
    if values.dtype == np.uint8:
        values = values / 255
    elif values.dtype != bool and not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"mask is {values.dtype}, expected booleans, uint8 or floats from 0 to 1")
    count, height, width, _ = images.shape
    if values.ndim == 4 and values.shape[-1] == 1:
        values = values[..., 0]
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or values.shape[0] not in (1, count) or values.shape[1:] != (height, width):
        raise ValueError(
            f"mask is {list(np.shape(mask))}, expected that of the pictures: [{height},{width}] or "
            f"[{count},{height},{width}]"
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError(
            f"mask has numbers from {values.min():g} to {values.max():g}, expected 0 to 1"
        )
    binary = (values >= 0.5).astype(np.float32)
    if not binary.any(axis=(1, 2)).all():
        raise ValueError("mask is zero everywhere: there is nothing to paint anew")
    return jnp.broadcast_to(jnp.asarray(binary)[..., None], (count, height, width, 1))


def keys_for(key: AnyKey | None, count: int, request: Painting, given: bool) -> Key[Array, " n"]:
    """A key for each picture. given: whether the start is, so that only steps may draw.

    Raises `ValueError` where something is drawn and there is no key, and for another number of
    keys than of pictures.
    """
    if key is None:
        eta = request.eta
        drawn = request.sampler in _DRAWN_BY or not isinstance(eta, (int, float)) or eta > 0
        if not given or drawn or callable(request.sampler):
            raise ValueError("give `key`, a seed or a key: something is drawn here")
        key = 0
    keys = picture_keys(key, jnp.arange(count))
    if len(keys) != count:
        raise ValueError(f"{len(keys)} keys for {count} pictures: expected as many, or one key")
    return keys


def each(name: str, value: Scale, count: int) -> Float[Array, " n"]:
    """A scale for each picture. Raises `ValueError` for another number of them."""
    array = jnp.asarray(value, jnp.float32)
    if array.shape not in ((), (count,)):
        raise ValueError(f"{name} has shape {array.shape}, expected one number or {count}")
    return jnp.broadcast_to(array, (count,))


def repeated(tree: T, count: int) -> T:
    """Each row of every array `count` times, one after the other."""
    if count == 1:
        return tree
    return jax.tree.map(lambda rows: jnp.repeat(rows, count, axis=0), tree)


def first_step(steps: int, strength: float) -> int:
    """How many of the steps are left out. Raises `ValueError` where none is left to take."""
    taken = min(int(steps * strength), steps)
    if taken == 0:
        raise ValueError(f"strength={strength:g} with {steps} steps leaves no step")
    return steps - taken


def at_latents(mask: Float[Array, "n h w 1"], factor: int) -> Float[Array, "n i j 1"]:
    """A mask at the latents' size: of each square its first pixel (nearest, as diffusers has it).

    Raises `ValueError` for one that lies between those pixels, so that nothing would be painted.
    """
    found = mask[:, ::factor, ::factor]
    if not np.asarray(found).any(axis=(1, 2, 3)).all():
        raise ValueError(
            f"mask is lost at the size of the latents, where one place is {factor}x{factor} "
            f"pixels: make it at least {factor} pixels wide and high"
        )
    return found
