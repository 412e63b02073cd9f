"""What an unCLIP does with pictures, by their two latents.

Ramesh et al. 2022, arXiv 2204.06125, sections 3 to 5. A picture is described by its CLIP image
embedding z_i, which says what it shows, and by the x_T from which the decoder, as a deterministic
DDIM conditioned on z_i, draws it; so x_T is everything else. Variations keep z_i, interpolations go
from one pair to another, and text diffs turn z_i towards the difference of two texts.

Of a `Drawing` the fields of a prior play no part here, but in `ablate_prior`. What starts from x_T
is drawn by DDIM where the request has "ancestral", which cannot be inverted.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from clipdiff_jax.core.checks import Whole, check_number, whole_number
from clipdiff_jax.core.keys import AnyKey, picture_keys
from clipdiff_jax.core.request import fill
from clipdiff_jax.data.images import Pictures
from clipdiff_jax.diffusion.interpolation import slerp
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.pca import reconstruct
from clipdiff_jax.models.unclip import Noise
from clipdiff_jax.unclip import small
from clipdiff_jax.unclip.calls import Calls
from clipdiff_jax.unclip.drawing import Drawing
from clipdiff_jax.unclip.priors.autoregressive import ARPriorModel
from clipdiff_jax.unclip.walk import draw_noise

Latents = Literal["slerp", "fixed"]
One = Float[Array, "1 h w 3"]
Thetas = int | np.integer | Sequence[Any] | Float[Array | np.ndarray, " n"]
DIMS = (20, 30, 40, 80, 120, 160, 200, 320)  # the paper's, figure 7
THETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
INVERTED = Drawing(steps=50, sampler="ddim", guidance=1.0)  # far from 1 cannot be inverted well


def drawing_of_variations(
    inverted: bool, drawing: Drawing | None, options: Mapping[str, Any]
) -> Drawing:
    """The request of `variations`, whose default depends on whether they are inverted."""
    if not inverted:
        return fill(Drawing(), drawing, options)
    default = Drawing(sampler="ddim", eta=1.0) if drawing is None else _from_x_t(drawing)
    drawing = _from_x_t(fill(default, None, options))
    return drawing if drawing.guidance is not None else drawing.replace(guidance=1.0)


def variations(
    model: Calls,
    images: Pictures,
    count: Whole,
    key: AnyKey | None,
    inverted: bool,
    drawing: Drawing,
    noise: Mapping[str, Noise],
) -> Float[Array, "n size size 3"]:
    """`count` pictures for each image, with its CLIP embedding; those of an image follow each other

    inverted: start from the image's own x_T and add noise by DDIM with the drawing's eta, by
        default 1 (section 3.1): 0 gives the image back, and the larger eta, the more is drawn anew.
        Otherwise, as in Karlo, all but the embedding is, by ancestral sampling.
    drawing: a guidance of None is the model's own, or 1 for `inverted`, since a scale far from 1
        cannot be inverted well.
    noise: in place of drawing from `key`, by part.

    Raises `ValueError` for noise of the decoder where it starts from x_T, and without a key.
    """
    count = whole_number("count", count, low=1)
    z = jnp.repeat(model.embed_images(images), count, axis=0)
    sampling = drawing.of_decoder
    if not inverted:
        made = model.decode(z, key=key, sampling=sampling, noise=noise.get("decoder"))
    else:
        if "decoder" in noise:
            raise ValueError("inverted variations start from x_T: noise of 'decoder' is unused")
        if key is None:
            raise ValueError("variations draw noise: give a key")
        x_t = small.invert(model, model.small(images), z[::count], None, sampling)
        x_t = jnp.repeat(x_t, count, axis=0)
        steps = draw_noise("decoder", key, _evaluations(model, drawing), x_t.shape).steps
        made = model.decode(z, sampling=sampling, noise=Noise(x_t, steps))
    return small.upsample_all(model, made, key, drawing.of_upsampler, noise)


def interpolate(
    model: Calls,
    ends: Sequence[One],
    thetas: Thetas,
    key: AnyKey,
    latents: Latents,
    drawing: Drawing,
) -> Float[Array, "n size size 3"]:
    """Pictures on the way from the first of two images, at theta 0, to the second, at 1.

    thetas: where on the way, or how many pictures, evenly spread from end to end.

    The embedding goes along the great circle (section 3.2), and so does x_T from one image's own to
    the other's ("slerp"), or it stays one that is drawn from `key` ("fixed"), and then the ends are
    variations of the images. Raises `ValueError` for other latents, and as `_redraw`.
    """
    if latents not in ("slerp", "fixed"):
        raise ValueError(f"latents must be 'slerp' or 'fixed', got {latents!r}")
    drawing = _deterministic(drawing)
    z = jnp.concatenate([model.embed_batches([end]) for end in ends])
    theta = _angles(thetas)
    if latents == "slerp":
        both = jnp.concatenate([small.squares(model, end) for end in ends])
        x_t = _path(small.invert(model, both, z, None, drawing.of_decoder), theta)
    else:
        x_t = _one_latent(model, key, len(theta))
    return _redraw(model, x_t, _path(z, theta), key, drawing)


def text_diff(
    model: Calls,
    image: One,
    texts: tuple[str, str],
    thetas: Thetas,
    key: AnyKey,
    drawing: Drawing,
) -> Float[Array, "n size size 3"]:
    """The image turned from what the first text says to what the second says.

    With z_t, z_t0 the embeddings of the second and the first, z_d the direction of z_t - z_t0 and
    x_T the image's own, one picture for each theta is decoded from slerp(z_i, z_d, theta) (section
    3.3). The first text may be the image's own caption, "a photo" or "". Raises `ValueError` for
    texts of one embedding, and as `_redraw`.
    """
    drawing, theta = _deterministic(drawing), _angles(thetas)
    z = model.embed_batches([image])
    x_t = small.invert(model, small.squares(model, image), z, None, drawing.of_decoder)
    before, after = unit(model.encode_texts(list(texts)).embedding)
    difference = after - before
    if float(jnp.linalg.norm(difference)) < 1e-6:
        raise ValueError("'{}' and '{}' have the same embedding: no direction".format(*texts))
    turned = jnp.linalg.norm(z) * unit(difference)[None]
    z = slerp(jnp.repeat(z, len(theta), axis=0), jnp.repeat(turned, len(theta), axis=0), theta)
    return _redraw(model, jnp.repeat(x_t, len(theta), axis=0), z, key, drawing)


def pca_reconstructions(
    model: Calls, image: One, dims: Sequence[int] | None, key: AnyKey, drawing: Drawing
) -> Float[Array, "n size size 3"]:
    """The image decoded from the first `dims` principal components of its embedding.

    All with one x_T, drawn from `key` (section 4). dims: None takes those of the paper that the
    embedding has. The components are those that the autoregressive prior was fitted to, so it has
    to be loaded. Raises `ValueError` for more dimensions than the embedding has, and as `_redraw`.
    """
    dims, drawing = reconstruction_dims(model, dims), _deterministic(drawing)
    prior: ARPriorModel = model.part("ar_prior")
    z = jnp.repeat(model.embed_batches([image]), len(dims), axis=0)
    z = reconstruct(prior.components, z, jnp.asarray(dims))
    return _redraw(model, _one_latent(model, key, len(dims)), z, key, drawing)


def reconstruction_dims(model: Calls, dims: Sequence[int] | None = None) -> list[int]:
    """The dimensions of `pca_reconstructions`; raises its errors."""
    prior: ARPriorModel = model.part("ar_prior")
    most = len(prior.components.variances)
    if dims is None:
        # An embedding narrower than the paper's fewest dimensions is shown whole.
        return [d for d in DIMS if d <= most] or [most]
    if wrong := [d for d in dims if not isinstance(d, (int, np.integer)) or not 0 <= d <= most]:
        raise ValueError(f"dims {wrong[0]}, expected 0 to {most}, the embedding's width")
    return [int(d) for d in dims]


def ablate_prior(
    model: Calls, prompts: Sequence[str], key: AnyKey, drawing: Drawing
) -> dict[str, Float[Array, "b size size 3"]]:
    """What the prior is good for (section 5.1): the prompts decoded in three ways, one noise.

    "caption": from the text alone, without an embedding; "text embedding": with the text's own in
    place of an image's; "prior": with the prior's.
    """
    ways: dict[str, Array | None] = {
        "caption": None,
        "text embedding": model.encode_texts(prompts).embedding,
        "prior": model.embed_prompts(prompts, key=key, sampling=drawing.of_prior),
    }
    pictures = {}
    for name, z in ways.items():
        made = model.decode(z, prompts, key=key, sampling=drawing.of_decoder)
        pictures[name] = small.upsample_all(model, made, key, drawing.of_upsampler)
    return pictures


def _angles(thetas: Thetas) -> Float[Array, " n"]:
    """Shares of the way, or so many of them from end to end. Raises `ValueError` for others."""
    if np.ndim(thetas) == 0:
        return jnp.linspace(0, 1, whole_number("thetas", thetas, low=1), dtype=jnp.float32)
    check_number("thetas", thetas if isinstance(thetas, jax.Array) else np.asarray(thetas))
    found = jnp.asarray(thetas, jnp.float32)
    if found.ndim != 1 or not len(found):
        raise ValueError(f"thetas are {thetas!r}, expected numbers from 0 to 1, or how many")
    return found


def _from_x_t(drawing: Drawing) -> Drawing:
    """The request for a walk from a picture's own x_T."""
    return drawing.replace(sampler="ddim") if drawing.sampler == "ancestral" else drawing


def _deterministic(drawing: Drawing) -> Drawing:
    """The same; raises `ValueError` for an eta, which would add noise."""
    if np.any(np.asarray(drawing.eta)):
        raise ValueError(f"eta={drawing.eta}: pictures on a path differ in their latents alone")
    return _from_x_t(drawing)


def _evaluations(model: Calls, drawing: Drawing) -> int:
    """How often the decoder is evaluated."""
    return len(drawing.of_decoder.times(model.part("decoder").config.schedule)) - 1


def _one_latent(model: Calls, key: AnyKey, count: int) -> Float[Array, "n h w 3"]:
    """One x_T, drawn from the key, `count` times."""
    x_t = draw_noise("decoder", key, 1, model.part("decoder").shape(1)).start
    return jnp.repeat(x_t, count, axis=0)


def _redraw(
    model: Calls,
    x_t: Float[Array, "b h w 3"],
    z: Float[Array, "b d"],
    key: AnyKey,
    drawing: Drawing,
) -> Float[Array, "b size size 3"]:
    """Decodes pairs (z, x_T), all upsampled with the same noise, so that they differ in these only.

    A sampler that draws noise is given zeros.
    """
    start = Noise(x_t, jnp.zeros((_evaluations(model, drawing), *x_t.shape)))
    made = model.decode(z, sampling=drawing.of_decoder, noise=start)
    one = picture_keys(key, jnp.zeros(1, int))[0]
    keys = jnp.stack([one] * len(x_t))
    return small.upsample_all(model, made, keys, drawing.of_upsampler)


def _path(ends: Float[Array, "2 ..."], theta: Float[Array, " n"]) -> Float[Array, "n ..."]:
    """From the first to the second along the great circle."""
    first, second = (jnp.repeat(end[None], len(theta), axis=0) for end in ends)
    return slerp(first, second, theta)
