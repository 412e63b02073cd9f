"""The CLIP directional loss: the picture should change the way the text does.

With f CLIP's image tower and g its text tower, both L2-normalised, over prompt templates k,

    dI = f(generated) - f(reference),     dT = mean_k g(target_k) - mean_k g(source_k)     (15)
    L_dir = 1 - <dI, dT> / (|dI| |dT|)                                                     (16)

(StyleGAN-NADA, Gal et al. 2021, arXiv 2108.00946, eq. 2; DiffusionCLIP, Kim et al. 2022, arXiv
2110.02711, eq. 4.) The released DiffusionCLIP optimises -log((2 - L_dir) / 2), that is

    L_log = -log((1 + cos) / 2)                                                            (17)

which pulls hardest while the picture still goes the wrong way; it is the default here. Neither
says how far to go. A hinge on the projected length does:

    L_length = max(0, 1 - <dI, dT> / (length |dT|^2))                                      (18)

CLIP's gradient alone finds texture that only CLIP sees. Augmenting the generated and the reference
picture in the same way (the same random crop, the same noise) and averaging dI over n such views
leaves what survives them (compare FuseDream, Liu et al. 2021, arXiv 2112.01573, section 3.1).
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from clipdiff_jax.models.clip import unit
from clipdiff_jax.perceptual.templates import fill

EmbedImages = Callable[[Array], Array]
EmbedTexts = Callable[[list[str]], Array]
Form = Literal["log", "cosine"]


class TextDirection(NamedTuple):
    """dT of eq. 15 as a unit vector [D] and its length before normalising."""

    unit: Float[Array, " d"]
    length: Float[Array, ""]


class Change(NamedTuple):
    """How each picture changed, seen from the text's direction; both [B].

    cosine: <dI, dT> / (|dI| |dT|), called S_dir when it is reported.
    length: <dI, dT> / |dT|^2: 1 where the picture went as far as the text did.
    """

    cosine: Float[Array, " b"]
    length: Float[Array, " b"]


class Views(NamedTuple):
    """Random views, the same for the generated and the reference picture.

    number: how many; 0 takes the pictures as they are. crop, noise: see `shared_views`.
    """

    number: int = 0
    crop: float = 0.8
    noise: float = 0.1


AS_THEY_ARE = Views()


def text_direction(
    embed_texts: EmbedTexts, source: str | Sequence[str], target: str, templates: tuple[str, ...]
) -> TextDirection:
    """Eq. 15 for a pair of texts, e.g. "face" and "smiling face"; computed once per pair.

    embed_texts: list of K strings -> [K, D], normalised here.
    source: one text, or several whose mean is taken: what pictures show, and what they should not
        come to show instead ("no glasses" and "sunglasses", where the target is "glasses").
    Raises ValueError where both sides mean the same to CLIP, so that there is no direction.
    """
    sources = [source] if isinstance(source, str) else source
    filled = [fill(templates, text) for text in (*sources, target)]
    means = [jnp.mean(unit(embed_texts(texts)), axis=0) for texts in filled]
    mean_source, mean_target = sum(means[:-1]) / len(sources), means[-1]
    delta = mean_target - mean_source
    length = jnp.linalg.norm(delta)
    if length < 1e-6:
        raise ValueError(
            f"the texts {source!r} and {target!r} have the same embedding: no direction to edit in"
        )
    return TextDirection(delta / length, length)


def change(
    embed_images: EmbedImages,
    direction: TextDirection,
    generated: Float[Array, "b h w 3"],
    reference: Float[Array, "b h w 3"],
    key: Key[Array, ""] | None = None,
    views: Views = AS_THEY_ARE,
) -> Change:
    """What eq. 16 to 18 are made of, for each picture. No gradient reaches `reference`.

    embed_images: [N, H, W, 3] in [-1, 1] -> [N, D], not normalised.
    views: those that dI is averaged over, drawn from `key`.
    """
    if views.number:
        if key is None:
            raise ValueError("augmentations are random: give a key")
        generated, reference = shared_views(
            key, (generated, reference), views.number, crop=views.crop, noise=views.noise
        )
    after = unit(embed_images(generated))
    before = unit(embed_images(jax.lax.stop_gradient(reference)))
    delta = after - jax.lax.stop_gradient(before)
    delta = jnp.mean(delta.reshape(max(views.number, 1), -1, delta.shape[-1]), axis=0)
    along = delta @ direction.unit
    return Change(along / (_norm(delta) + 1e-7), along / direction.length)


def direction_term(cosine: Float[Array, "..."], form: Form = "log") -> Float[Array, "..."]:
    """Eq. 16 ("cosine") or 17 ("log")."""
    if form == "cosine":
        return 1 - cosine
    if form == "log":
        return -jnp.log(jnp.maximum((1 + cosine) / 2, 1e-6))
    raise ValueError(f"form must be 'log' or 'cosine', got {form!r}")


def length_term(length: Float[Array, "..."], wanted: float) -> Float[Array, "..."]:
    """Eq. 18: 1 for an unchanged picture, 0 from `wanted` times the text's length on."""
    return jnp.maximum(0.0, 1 - length / wanted)


def shared_views(
    key: Key[Array, ""],
    images: tuple[Float[Array, "b h w c"], ...],
    count: int,
    *,
    crop: float,
    noise: float,
) -> tuple[Float[Array, "n h w c"], ...]:
    """`count` random views of each batch, the same for all of `images`: [count * B, H, W, C].

    A view is a square crop whose side is uniform in [crop, 1] of the picture's, anywhere in it,
    resized back (cubic), plus normal noise of standard deviation `noise`.
    """
    if not 0 < crop <= 1:
        raise ValueError(f"crop is the smallest side as a share of the picture, got {crop}")
    batch, height, width, channels = images[0].shape
    side_key, place_key, noise_key = jax.random.split(key, 3)
    total = count * batch
    side = jax.random.uniform(side_key, (total, 1), jnp.float32, minval=crop, maxval=1.0)
    corner = jax.random.uniform(place_key, (total, 2), jnp.float32) * (1 - side)
    grain = noise * jax.random.normal(noise_key, (total, height, width, channels), jnp.float32)
    size = jnp.array([height, width], jnp.float32)

    def cut(image: Array, side: Array, corner: Array) -> Array:
        scale = jnp.broadcast_to(1 / side, (2,))
        return jax.image.scale_and_translate(
            image, image.shape, (0, 1), scale, -corner * size * scale, "cubic", antialias=False
        )

    def view(batch_of_images: Array) -> Array:
        repeated = jnp.tile(batch_of_images, (count, 1, 1, 1))
        return jax.vmap(cut)(repeated, side, corner) + grain

    return tuple(view(batch_of_images) for batch_of_images in images)


def _norm(x: Float[Array, "*b d"]) -> Float[Array, "*b"]:
    return jnp.sqrt(jnp.sum(x * x, axis=-1) + 1e-12)
