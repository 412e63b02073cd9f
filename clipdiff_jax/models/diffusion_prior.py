"""The diffusion prior of unCLIP: from a text and a noisy CLIP image embedding to the clean one.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2: a causal transformer over the sequence

    [encoded text ..., CLIP text embedding, time, noisy image embedding, a learned query]

whose state at the query is projected to the embedding x0. The network is that of Karlo, so its
weights can be loaded (`weights/layouts/prior_diffusers.py`). It knows no noise schedule.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from clipdiff_jax.core.types import DType
from clipdiff_jax.models.layers import TimeEmbedding
from clipdiff_jax.models.transformer import Transformer

ADDED_TOKENS = 4  # text embedding, time, noisy image embedding, query


@dataclass(frozen=True)
class DiffusionPriorConfig:
    """Describes a `DiffusionPrior`; the defaults are Karlo's.

    Attributes:
      embedding_width: of CLIP's embeddings.
      hidden_width: of its text transformer's states; None where it is the same.
      text_length: tokens of the encoded text.
      width, depth, heads: of the transformer, whose MLPs are four times as wide.
    """

    embedding_width: int = 768
    hidden_width: int | None = None
    text_length: int = 77
    width: int = 2048
    depth: int = 20
    heads: int = 32

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not split into {self.heads} heads")

    @property
    def text_width(self) -> int:
        """Width of the states of CLIP's text transformer."""
        return self.embedding_width if self.hidden_width is None else self.hidden_width


class DiffusionPrior(nn.Module):
    """`DiffusionPrior(config).apply({"params": p}, z_t, t, cond)` -> x0, in normalised units.

    `z_t` is [B, D], `t` [B]; `cond` holds `embedding` [B, D] and `hidden` [B, T, W], CLIP's text
    embedding and last states, and `mask` [B, T], True where a token counts. The diffusion runs on
    embeddings shifted and scaled to mean 0 and deviation 1; `restore` undoes that.

    `dtype` is what the network computes in; None is float32. Raises `ValueError` for a text of
    another length than the config's.
    """

    config: DiffusionPriorConfig
    remat: bool = False
    dtype: DType | None = None

    def setup(self) -> None:
        c = self.config
        dense = lambda width: nn.Dense(width, dtype=self.dtype)
        norm = lambda: nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        dtype = jnp.float32 if self.dtype is None else self.dtype
        self.time = TimeEmbedding(c.width, c.width, "cos_sin", 0.0, dtype)
        self.image_in, self.embedding_in, self.hidden_in = (dense(c.width) for _ in range(3))
        self.query = self.param(
            "query", nn.initializers.normal(c.width**-0.5), (c.width,), jnp.float32
        )
        length = c.text_length + ADDED_TOKENS
        normal = nn.initializers.normal(0.01)
        self.position_embedding = self.param(
            "position_embedding", normal, (length, c.width), jnp.float32
        )
        self.transformer = Transformer(
            c.depth, c.heads, 4 * c.width, "gelu", causal=True, remat=self.remat, dtype=self.dtype
        )
        self.norm_out, self.out = norm(), dense(c.embedding_width)
        width = (c.embedding_width,)
        self.embedding_mean = self.param(
            "embedding_mean", nn.initializers.zeros_init(), width, jnp.float32
        )
        self.embedding_std = self.param(
            "embedding_std", nn.initializers.ones_init(), width, jnp.float32
        )

    def __call__(
        self, z_t: Float[Array, "b d"], t: Num[Array, " b"], cond: dict[str, Array]
    ) -> Float[Array, "b d"]:
        hidden: Float[Array, "b t w"] = cond["hidden"]
        mask: Bool[Array, "b t"] = cond["mask"]
        batch, length = mask.shape
        if length != self.config.text_length:
            raise ValueError(
                f"a text of {length} tokens, the prior takes {self.config.text_length}"
            )
        text = self.embedding_in(cond["embedding"])
        query = jnp.broadcast_to(self.query.astype(text.dtype), text.shape)
        added = jnp.stack([text, self.time(t), self.image_in(z_t), query], axis=1)
        x = jnp.concatenate([self.hidden_in(hidden), added], axis=1)
        x = x + self.position_embedding.astype(x.dtype)
        seen = jnp.concatenate([mask, jnp.ones((batch, ADDED_TOKENS), bool)], axis=1)
        x = self.transformer(x, seen[:, None, None, :])
        return self.out(self.norm_out(x[:, -1]))

    def restore(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """The CLIP image embedding, not L2-normalised, that a normalised one stands for."""
        return z * self.embedding_std + self.embedding_mean
