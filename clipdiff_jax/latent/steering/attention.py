"""What is done to the attention of a UNet, as values that go with the conditioning.

A `Steering` is a pytree whose leaves lead with the rows of the batch, so that it is repeated,
joined and cut as texts are. At a time it becomes an `Attention`, see `models.spatial_transformer`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.spatial_transformer import Attention, AttentionSite, Kept
from clipdiff_jax.models.unet_config import UNetConfig

Sides = tuple[int, int]
_MAPS = 16  # the side of Stable Diffusion's maps that editors look at
_DROPPED = 0xD20B  # sets the draws of dropped places apart from the noise of the same keys


class Steering(Protocol):
    """An attention that may depend on time."""

    def at(self, t: Int[Array, " b"]) -> Attention: ...


def attended_sides(
    unet: UNetConfig, height: int, width: int, *, middle: bool = True
) -> list[Sides]:
    """Of latents of these sides the sides of the maps that see the context, the largest first.

    middle: whether the middle's counts.
    """
    levels = {*unet.attention_levels}
    if unet.middle_attention and (middle or not levels):
        levels.add(len(unet.channels) - 1)
    sides = [(height // unet.patch, width // unet.patch)]
    for _ in unet.channels[1:]:
        sides.append(((sides[-1][0] + 1) // 2, (sides[-1][1] + 1) // 2))
    return [sides[level] for level in sorted(levels)]


class Drop(NamedTuple):
    """Places that look at the empty text by chance; of each row one.

    keys: of the picture. numbers: of the object, so that each has draws of its own. rates: how
    probable it is.
    """

    keys: Key[Array, "*b"]
    numbers: Int[Array, "*b"]
    rates: Float[Array, "*b"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Masked:
    """Cross-attention in which places inside of a region see a text, and all others another one.

    The context is those texts one after the other: what is inside, what is outside and, where
    `drop` is not None, the empty text. NoiseCollage, section 3.3. The softmax over what a place may
    see is that of its text alone.

    Attributes:
      inside: of each map's sides its places, row by row.
      drop: which places outside see the empty text; drawn at the latents' `sides`.
      sides: of the latents.
    """

    inside: dict[Sides, Bool[Array, "*b t"]]
    drop: Drop | None
    sides: Sides = field(metadata={"static": True})

    def at(self, t: Int[Array, " b"]) -> Attention:
        dropped = None if self.drop is None else _dropped(self.drop, self.sides, t)

        def attention(site: AttentionSite, q: Array, k: Array, v: Array) -> Array | None:
            if site.kind == "self":
                return None
            inside = self.inside[site.height, site.width]
            if dropped is None:
                text = jnp.where(inside, 0, 1)
            else:
                steps = [-(-n // m) for n, m in zip(self.sides, site[2:4], strict=True)]
                at_site = dropped[:, :: steps[0], :: steps[1]].reshape(inside.shape)
                text = jnp.where(inside, 0, jnp.where(at_site, 2, 1))
            texts = 2 if dropped is None else 3
            of_token = jnp.repeat(jnp.arange(texts), k.shape[1] // texts)
            return attend(q, k, v, mask=(text[..., None] == of_token)[:, None])

        return attention


def _dropped(drop: Drop, sides: Sides, t: Int[Array, " b"]) -> Bool[Array, "b h w"]:
    def draw(key: Array, number: Array, rate: Array, t: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(key, _DROPPED), t)
        return jax.random.bernoulli(jax.random.fold_in(key, number), rate, sides)

    return jax.vmap(draw)(*drop, t)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Watched:
    """Attention as it is, whose maps of the context are kept: mean over heads, [B,T,S] of each.

    sides: of the maps that are kept. middle: whether the middle's are.
    """

    sides: Sides = field(metadata={"static": True})
    middle: bool = field(default=True, metadata={"static": True})

    def at(self, t: Int[Array, " b"]) -> Attention:
        del t

        def attention(site: AttentionSite, q: Array, k: Array, v: Array) -> Kept | None:
            apart = site.name == "mid_attn" and not self.middle
            if site.kind == "self" or site[2:4] != self.sides or apart:
                return None
            maps = softmax_maps(q, k)
            out = jnp.einsum("bhts,bshd->bthd", maps.astype(v.dtype), v)
            return Kept(out, jnp.mean(maps, axis=1))

        return attention


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Structured:
    """Attention whose context is two of equal length: the first gives keys, the second values."""

    def at(self, t: Int[Array, " b"]) -> Attention:
        del t

        def attention(site: AttentionSite, q: Array, k: Array, v: Array) -> Array | None:
            if site.kind == "self":
                return None
            half = k.shape[1] // 2
            return attend(q, k[:, :half], v[:, half:])

        return attention


def softmax_maps(q: Float[Array, "b t h d"], k: Float[Array, "b s h d"]) -> Float[Array, "b h t s"]:
    """softmax(q k^T d^-0.5), float32."""
    logits = jnp.einsum("bthd,bshd->bhts", q, k, preferred_element_type=jnp.float32)
    return jax.nn.softmax(logits * q.shape[-1] ** -0.5, axis=-1)


def map_sides(unet: UNetConfig, height: int, width: int, *, middle: bool = True) -> Sides:
    """Of latents of these sides those of the maps that say best where a word is: a quarter of the
    latents' if the network attends there, else the nearest to 16. middle: whether its count."""
    sides = attended_sides(unet, height, width, middle=middle)
    quarter = (-(-height // 4), -(-width // 4))
    return quarter if quarter in sides else min(sides, key=lambda one: abs(one[0] - _MAPS))


def mean_map(kept: Any) -> Float[Array, "b t s"]:
    """The mean over transformers and blocks of the maps that were kept, all of one size."""
    return jnp.mean(jnp.concatenate(jax.tree.leaves(kept)), axis=0)


def smoothed(maps: Float[Array, "*b i j"]) -> Float[Array, "*b i j"]:
    """3 x 3 Gaussian of standard deviation 0.7071 places, reflected at the borders.

    Releases of this and of Attend-and-Excite name 0.5 and compute exp(-(d / (2 0.5))^2).
    """
    weights = jnp.exp(-jnp.array([1.0, 0.0, 1.0]))
    weights = weights / weights.sum()
    for axis in (-2, -1):
        if maps.shape[axis] == 1:
            continue
        padding = [(0, 0)] * maps.ndim
        padding[axis] = (1, 1)
        padded = jnp.pad(maps, padding, mode="reflect")
        size = maps.shape[axis]
        parts = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        maps = sum(w * part for w, part in zip(weights, parts, strict=True))
    return maps
