"""What pictures are guided to: texts and pictures with weights, as a CLIP sees them."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from PIL import Image

from clipdiff_jax.clip.model import Clip
from clipdiff_jax.core.request import Number
from clipdiff_jax.data.images import Picture, as_images
from clipdiff_jax.models.clip import unit
from clipdiff_jax.perceptual.clip_loss import spherical_distance
from clipdiff_jax.perceptual.cutouts import cutouts

Prompt = str | Picture | tuple[str | Picture, Number]
Weighted = tuple[str | Picture, float]


def split_weight(text: str) -> tuple[str, float]:
    """The text before the last colon and the number behind it; without one, the text and 1."""
    before, colon, after = text.rpartition(":")
    try:
        weight = float(after)
    except ValueError:
        return text, 1.0
    return (before, weight) if colon else (text, 1.0)


def weighted(prompts: Prompt | Sequence[Prompt]) -> list[Weighted]:
    """Prompts with their weights, which sum to 1 or -1.

    Raises `ValueError` where there are none, one is empty, a weight is not finite, or they sum to
    nothing.
    """
    alone = isinstance(prompts, (str, np.ndarray, jax.Array, Image.Image)) or _is_pair(prompts)
    several: Any = prompts
    listed: list[Prompt] = [several] if alone else list(several)
    if not listed:
        raise ValueError("no prompts: give at least one text or picture")
    pairs = [_with_weight(one) for one in listed]
    for prompt, weight in pairs:
        if isinstance(prompt, str) and not prompt.strip():
            raise ValueError("a prompt is empty, expected a text")
        if not math.isfinite(weight):
            shown = f"'{prompt}'" if isinstance(prompt, str) else "a picture"
            raise ValueError(f"the weight of {shown} is {weight}, expected a finite number")
    total = sum(weight for _, weight in pairs)
    if abs(total) < 1e-3:
        raise ValueError(
            f"the weights {', '.join(f'{weight:g}' for _, weight in pairs)} sum to {total:g}, "
            "expected a sum that is not 0"
        )
    return [(prompt, weight / abs(total)) for prompt, weight in pairs]


def _is_pair(prompts: Any) -> bool:
    return (
        isinstance(prompts, tuple)
        and len(prompts) == 2
        and isinstance(prompts[1], (int, float, np.number))
    )


def _with_weight(prompt: Prompt) -> Weighted:
    if isinstance(prompt, str):
        return split_weight(prompt)
    if isinstance(prompt, tuple):
        what, weight = prompt
        return what, float(weight)
    return prompt, 1.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Critic:
    """A CLIP, and the prompts as unit vectors in its space, [P, D] with weights [P]."""

    clip: Clip
    targets: Float[Array, "p d"] = field(repr=False)
    weights: Float[Array, " p"] = field(repr=False)

    @property
    def size(self) -> int:
        """Side of what the CLIP takes, in pixels."""
        return self.clip.config.vision.image_size

    def distance(self, views: Float[Array, "b n size size 3"]) -> Float[Array, " b"]:
        """sum over prompts of their weight times the mean over views of angle^2 / 2."""
        seen = unit(self.clip.embed_images(views.reshape(-1, *views.shape[2:])))
        seen = seen.reshape(*views.shape[:2], 1, -1).astype(jnp.float32)
        return jnp.mean(spherical_distance(seen, self.targets), axis=1) @ self.weights


def make_critic(
    clip: Clip, prompts: Sequence[Weighted], key: Key[Array, ""], count: int, power: Number
) -> Critic:
    """A CLIP with its targets; of a picture each of `count` cutouts is one.

    Raises what `data.images.as_images` raises of a picture, and `ValueError` for several in one.
    """
    targets: list[Array] = []
    weights: list[float] = []
    for index, (prompt, weight) in enumerate(prompts):
        if isinstance(prompt, str):
            targets.append(clip.embed_texts([prompt]))
            weights.append(weight)
            continue
        picture = as_images(prompt)
        if len(picture) != 1:
            raise ValueError(f"a prompt is {len(picture)} pictures, expected one picture a prompt")
        keys = jax.random.fold_in(key, index)[None]
        targets.append(_embed_cutouts(clip, picture, keys, power, count=count))
        weights += [weight / count] * count
    every = unit(jnp.concatenate(targets).astype(jnp.float32))
    return Critic(clip, every, jnp.asarray(weights, jnp.float32))


@functools.partial(jax.jit, static_argnames="count")
def _embed_cutouts(
    clip: Clip, picture: Array, keys: Key[Array, "1"], power: Number | Array, *, count: int
) -> Float[Array, "count d"]:
    """Traced, and so without doubts of the range: a bright square of a picture is one of it."""
    return clip.embed_images(cutouts(picture, keys, count, clip.config.vision.image_size, power)[0])
