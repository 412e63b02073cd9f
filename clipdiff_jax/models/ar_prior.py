"""The autoregressive prior of unCLIP: a CLIP image embedding, code by code.

Ramesh et al. 2022, arXiv 2204.06125, section 2.2: the embedding's principal components (`pca.py`),
each in one of 1024 buckets (`quantiser.py`), are predicted one after another, those of the largest
variance first, by a causal transformer over

    [encoded text ..., CLIP text embedding z_t, bucket of z_i . z_t, code 0, code 1, ...]

The state at z_t predicts the bucket of the dot product and each state after it the next code. Asked
for a large dot product, the transformer names embeddings that fit the text well. Both embeddings
are of unit length in the product, so that it is CLIP's cosine.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.transformer import Cache, Transformer

ADDED_TOKENS = 2  # text embedding, dot product
NETWORK = "network"  # whose parameters these are, in a model folder


@dataclass(frozen=True)
class ARPriorConfig:
    """Describes an `ARPrior`; the defaults are the paper's (table 3).

    Attributes:
      embedding_width: of CLIP's embeddings.
      hidden_width: of the states of CLIP's text transformer.
      text_length: tokens of the encoded text. The paper's context of 384 is that of 64 tokens, the
        two beside them and 318 codes: the last code is predicted, never read.
      dims: how many principal components are predicted.
      buckets: values of a code.
      dot_buckets: values of the token of the dot product, equally frequent in the training data; an
        even number, whose upper half sampling draws from.
      width, depth, heads: of the transformer, whose MLPs are four times as wide.
    """

    embedding_width: int = 1024
    hidden_width: int = 1024
    text_length: int = 64
    dims: int = 319
    buckets: int = 1024
    dot_buckets: int = 1024
    width: int = 1664
    depth: int = 24
    heads: int = 26

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not split into {self.heads} heads")
        if not 1 <= self.dims <= self.embedding_width:
            raise ValueError(
                f"dims={self.dims}, expected 1 to {self.embedding_width}, the embedding's width"
            )
        if self.buckets < 2:
            raise ValueError(f"buckets={self.buckets}, expected at least 2")
        if self.dot_buckets < 2 or self.dot_buckets % 2:
            raise ValueError(f"dot_buckets={self.dot_buckets}, expected an even number")

    @property
    def context_length(self) -> int:
        """Positions of the transformer."""
        return self.text_length + ADDED_TOKENS + self.dims - 1


class ARPrior(nn.Module):
    """`ARPrior(config).apply({"params": p}, embedding, hidden, mask, dot, codes)` -> logits.

    CLIP's text embedding [B, D], last text states [B, T, W] and which tokens count [B, T], the
    bucket of the dot product [B] and the codes [B, K] -> float32 logits of that bucket [B, N] and
    of each code [B, K, M], given what stands before them. `begin` and `extend` give the same logits
    one after another for codes that are yet to be drawn.

    `dtype` is what the network computes in; None is float32. Raises `ValueError` for a text of
    another length than the config's.
    """

    config: ARPriorConfig
    remat: bool = False
    dtype: DType | None = None

    def setup(self) -> None:
        c = self.config
        normal = nn.initializers.normal(c.width**-0.5)
        dense = lambda width: nn.Dense(width, dtype=self.dtype)
        table = lambda size: nn.Embed(size, c.width, embedding_init=normal, dtype=self.dtype)
        self.hidden_in, self.embedding_in = dense(c.width), dense(c.width)
        self.dot_embedding, self.code_embedding = table(c.dot_buckets), table(c.buckets)
        self.position_embedding = self.param(
            "position_embedding", normal, (c.context_length, c.width), jnp.float32
        )
        self.transformer = Transformer(
            c.depth, c.heads, 4 * c.width, "gelu", causal=True, remat=self.remat, dtype=self.dtype
        )
        self.norm_out = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.dot_out, self.code_out = dense(c.dot_buckets), dense(c.buckets)

    def __call__(
        self,
        embedding: Float[Array, "b d"],
        hidden: Float[Array, "b t w"],
        mask: Bool[Array, "b t"],
        dot: Int[Array, " b"],
        codes: Int[Array, "b k"],
    ) -> tuple[Float[Array, "b n"], Float[Array, "b k m"]]:
        prefix = self._prefix(embedding, hidden, dot)
        x = jnp.concatenate([prefix, self.code_embedding(codes[:, :-1])], axis=1)
        x = x + self.position_embedding.astype(x.dtype)
        x = self.norm_out(self.transformer(x, self._seen(mask)))
        first = self.config.text_length  # the position of z_t
        dot_logits = self.dot_out(x[:, first]).astype(jnp.float32)
        return dot_logits, self.code_out(x[:, first + 1 :]).astype(jnp.float32)

    def begin(
        self,
        embedding: Float[Array, "b d"],
        hidden: Float[Array, "b t w"],
        mask: Bool[Array, "b t"],
        dot: Int[Array, " b"],
    ) -> tuple[Float[Array, "b m"], Cache]:
        """(logits of code 0, the cache to continue with)."""
        c = self.config
        x = self._prefix(embedding, hidden, dot)
        x = x + self.position_embedding[: x.shape[1]].astype(x.dtype)
        cache = self.transformer.empty_cache(len(x), c.context_length, c.width)
        x, cache = self.transformer.extend(x, cache, self._seen(mask))
        return self.code_out(self.norm_out(x[:, -1])).astype(jnp.float32), cache

    def extend(
        self, code: Int[Array, " b"], mask: Bool[Array, "b t"], cache: Cache
    ) -> tuple[Float[Array, "b m"], Cache]:
        """(logits of the next code, the cache with this one in it); `mask` is the text's."""
        x = self.code_embedding(code)
        x = x + self.position_embedding[cache.length].astype(x.dtype)
        x, cache = self.transformer.extend(x[:, None], cache, self._seen(mask))
        return self.code_out(self.norm_out(x[:, 0])).astype(jnp.float32), cache

    def _prefix(
        self, embedding: Float[Array, "b d"], hidden: Float[Array, "b t w"], dot: Int[Array, " b"]
    ) -> Float[Array, "b t+2 width"]:
        length = self.config.text_length
        if hidden.shape[1] != length:
            raise ValueError(f"a text of {hidden.shape[1]} tokens, the prior takes {length}")
        text = self.embedding_in(unit(embedding) * embedding.shape[1] ** 0.5)
        added = jnp.stack([text, self.dot_embedding(dot)], axis=1)
        return jnp.concatenate([self.hidden_in(hidden), added], axis=1)

    def _seen(self, mask: Bool[Array, "b t"]) -> Bool[Array, "b 1 1 s"]:
        """What may be looked at: all but the padding of the text."""
        added = self.config.context_length - mask.shape[1]
        return jnp.pad(mask, ((0, 0), (0, added)), constant_values=True)[:, None, None, :]


def init_params(config: ARPriorConfig, key: Array) -> Params:
    """New parameters (float32) of the network; those it is fitted to are `fitted_params`."""
    c = config
    text = jnp.zeros((1, c.embedding_width)), jnp.zeros((1, c.text_length, c.hidden_width))
    mask, dot = jnp.ones((1, c.text_length), bool), jnp.zeros((1,), jnp.int32)
    codes = jnp.zeros((1, c.dims), jnp.int32)
    return {NETWORK: ARPrior(c).init(key, *text, mask, dot, codes)["params"]}
