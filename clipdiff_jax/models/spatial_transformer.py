"""The spatial transformer of latent diffusion: pixels look at each other, then at the context.

Rombach et al. 2022, arXiv 2112.10752, section 3.3. Its blocks are one `lax.scan`, their parameters
stacked over depth, so that SDXL's seventy compile as eleven.

Every attention in it can be watched and replaced: an `Attention` handed to `UNet.__call__` is asked
in place of `attend` at each `AttentionSite`. What it keeps comes back in the collection "maps":

    def keep(site, q, k, v):
        weights = jax.nn.softmax(logits(q, k))
        return Kept(weights @ v, weights)
    out, kept = unet.apply(variables, x, t, cond, attention=keep, mutable="maps")
    kept["maps"]["down_0_attn_0"]["blocks"]["cross"]      # ([depth, ...],)
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.models.attention import attend
from clipdiff_jax.models.layers import Dtype
from clipdiff_jax.models.unet_config import UNetConfig

_GROUP_EPS, _LAYER_EPS = 1e-6, 1e-5


class AttentionSite(NamedTuple):
    """Where in a UNet attention is asked for.

    Attributes:
      name: the spatial transformer: "down_{level}_attn_{i}", "mid_attn", "up_{level}_attn_{i}".
      kind: pixels to each other, or to the context.
      height, width: of the map whose pixels are the queries, row by row.
      block: which block of the transformer; traced, for the blocks are one program.
    """

    name: str
    kind: Literal["self", "cross"]
    height: int
    width: int
    block: Int[Array, ""]


class Kept(NamedTuple):
    """The result of an attention, and what of it is to come back in the collection "maps"."""

    out: Float[Array, "b t h d"]
    maps: Any


# (site, q [B,T,H,D], k [B,S,H,D], v [B,S,H,D]) -> [B,T,H,D], with or without what is kept; None
# leaves the attention of this site as it is.
Attention = Callable[[AttentionSite, Array, Array, Array], Array | Kept | None]


class SpatialTransformer(nn.Module):
    """norm, a dense layer, `depth_of(level)` blocks, a dense layer that starts at zero; plus x."""

    config: UNetConfig
    level: int
    attention: Attention | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b h w c"],
        context: Float[Array, "b s d"],
        context_mask: Bool[Array, "b s"] | None = None,
    ) -> Float[Array, "b h w c"]:
        cfg = self.config
        _, height, width, channels = x.shape
        dense = lambda name, **init: nn.Dense(channels, dtype=self.dtype, name=name, **init)
        norm = nn.GroupNorm(cfg.norm_groups, epsilon=_GROUP_EPS, dtype=self.dtype, name="norm")
        h = dense("proj_in")(rearrange(norm(x), "b h w c -> b (h w) c"))
        depth = cfg.depth_of(self.level)
        block = nn.remat(TransformerBlock, prevent_cse=False) if cfg.remat else TransformerBlock
        blocks = nn.scan(
            block,
            variable_axes={"params": 0, "maps": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, nn.broadcast, 0),
            length=depth,
        )(
            cfg.heads_of(channels, self.level),
            (self.name or "", height, width),
            self.attention,
            self.dtype,
            name="blocks",
        )
        h, _ = blocks(h, context, context_mask, jnp.arange(depth))
        h = dense("proj_out", kernel_init=nn.initializers.zeros_init())(h)
        return x + rearrange(h, "b (h w) c -> b h w c", h=height)


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention and a gated MLP, each of the norm of x and added to x.

    A `nn.scan` body: returns (x, None). `place` is the transformer's name and its map's sides.
    """

    heads: int
    place: tuple[str, int, int]
    attention: Attention | None = None
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t c"],
        context: Float[Array, "b s d"],
        context_mask: Bool[Array, "b s"] | None,
        index: Int[Array, ""],
    ) -> tuple[Float[Array, "b t c"], None]:
        channels = x.shape[-1]
        norm = lambda name: nn.LayerNorm(epsilon=_LAYER_EPS, dtype=self.dtype, name=name)

        def attended(name: Literal["self", "cross"], h: Array, tokens: Array, mask: Any) -> Array:
            def heads(of: Array, part: str) -> Array:
                dense = nn.Dense(channels, use_bias=False, dtype=self.dtype, name=f"{name}_{part}")
                return rearrange(dense(of), "b t (n d) -> b t n d", n=self.heads)

            q, k, v = heads(h, "q"), heads(tokens, "k"), heads(tokens, "v")
            out = self._attend(AttentionSite(self.place[0], name, *self.place[1:], index), q, k, v)
            out = attend(q, k, v, mask=mask) if out is None else out
            out = rearrange(out, "b t n d -> b t (n d)")
            return nn.Dense(channels, dtype=self.dtype, name=f"{name}_out")(out)

        mask = None if context_mask is None else context_mask[:, None, None, :]
        h = norm("norm_0")(x)
        x = x + attended("self", h, h, None)
        x = x + attended("cross", norm("norm_1")(x), context, mask)
        h = nn.Dense(8 * channels, dtype=self.dtype, name="mlp_up")(norm("norm_2")(x))
        value, gate = jnp.split(h, 2, axis=-1)
        h = value * jax.nn.gelu(gate, approximate=False)
        return x + nn.Dense(channels, dtype=self.dtype, name="mlp_down")(h), None

    def _attend(self, site: AttentionSite, q: Array, k: Array, v: Array) -> Array | None:
        """What the given attention says, where there is one; what it keeps is kept."""
        if self.attention is None:
            return None
        out = self.attention(site, q, k, v)
        if isinstance(out, Kept):
            self.sow("maps", site.kind, out.maps)
            return out.out
        return out
