"""A prior without diffusion: from a text to a CLIP image embedding in one evaluation.

ECLIPSE (Patel et al. 2024, arXiv 2312.04655, section 3.2): a transformer over the sequence

    [encoded text ..., CLIP text embedding, a learned query]

whose state at the query is projected to the embedding. It learns the mean of the embeddings that a
text allows, with a contrastive term that keeps the mean near the text
(`unclip/stages/direct_prior.py`).
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from clipdiff_jax.core.types import DType, Params
from clipdiff_jax.models.clip import unit
from clipdiff_jax.models.transformer import Transformer

ADDED_TOKENS = 2  # text embedding, query
NETWORK = "direct_prior"  # whose parameters these are, in a model folder


@dataclass(frozen=True)
class DirectPriorConfig:
    """Describes a `DirectPrior`; the defaults have about the paper's 33M parameters.

    Attributes:
      embedding_width: of CLIP's embeddings.
      hidden_width: of the states of CLIP's text transformer.
      text_length: tokens of the encoded text.
      width, depth, heads: of the transformer, whose MLPs are four times as wide.
    """

    embedding_width: int = 1280
    hidden_width: int = 1280
    text_length: int = 77
    width: int = 512
    depth: int = 10
    heads: int = 16

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not split into {self.heads} heads")


class DirectPrior(nn.Module):
    """`DirectPrior(config).apply({"params": p}, embedding, hidden, mask)` -> [B, D], normalised.

    CLIP's text embedding [B, D], last text states [B, T, W] and which tokens count [B, T]. The
    result is shifted and scaled to mean 0 and deviation 1 for each dimension; `restore` undoes it.

    `dtype` is what the network computes in; None is float32. Raises `ValueError` for a text of
    another length than the config's.
    """

    config: DirectPriorConfig
    remat: bool = False
    dtype: DType | None = None

    def setup(self) -> None:
        c = self.config
        normal = nn.initializers.normal(c.width**-0.5)
        dense = lambda width: nn.Dense(width, dtype=self.dtype)
        self.hidden_in, self.embedding_in = dense(c.width), dense(c.width)
        length = c.text_length + ADDED_TOKENS
        self.position_embedding = self.param(
            "position_embedding", normal, (length, c.width), jnp.float32
        )
        self.query = self.param("query", normal, (c.width,), jnp.float32)
        self.transformer = Transformer(
            c.depth, c.heads, 4 * c.width, "gelu", remat=self.remat, dtype=self.dtype
        )
        self.norm_out = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        self.out = dense(c.embedding_width)
        width = (c.embedding_width,)
        self.embedding_mean = self.param(
            "embedding_mean", nn.initializers.zeros_init(), width, jnp.float32
        )
        self.embedding_std = self.param(
            "embedding_std", nn.initializers.ones_init(), width, jnp.float32
        )

    def __call__(
        self,
        embedding: Float[Array, "b d"],
        hidden: Float[Array, "b t w"],
        mask: Bool[Array, "b t"],
    ) -> Float[Array, "b d"]:
        length = self.config.text_length
        if hidden.shape[1] != length:
            raise ValueError(f"a text of {hidden.shape[1]} tokens, the prior takes {length}")
        text = self.embedding_in(unit(embedding) * embedding.shape[1] ** 0.5)
        query = jnp.broadcast_to(self.query.astype(text.dtype), text.shape)
        x = jnp.concatenate([self.hidden_in(hidden), jnp.stack([text, query], axis=1)], axis=1)
        x = x + self.position_embedding.astype(x.dtype)
        seen = jnp.pad(mask, ((0, 0), (0, ADDED_TOKENS)), constant_values=True)
        x = self.transformer(x, seen[:, None, None, :])
        return self.out(self.norm_out(x[:, -1])).astype(jnp.float32)

    def restore(self, z: Float[Array, "b d"]) -> Float[Array, "b d"]:
        """The CLIP image embeddings, not L2-normalised, that normalised ones stand for."""
        return z * self.embedding_std + self.embedding_mean


def init_params(config: DirectPriorConfig, key: Array) -> Params:
    """New parameters (float32)."""
    c = config
    text = jnp.zeros((1, c.embedding_width)), jnp.zeros((1, c.text_length, c.hidden_width))
    return {NETWORK: DirectPrior(c).init(key, *text, jnp.ones((1, c.text_length), bool))["params"]}
