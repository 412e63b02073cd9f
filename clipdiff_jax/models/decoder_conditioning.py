"""How unCLIP's decoder is told what to draw: embeddings and text made into its conditioning.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1: the CLIP image embedding is projected and added
to the time embedding, and projected into a few extra tokens of context, which stand before the
encoded text. Karlo adds the projected CLIP text embedding to the time embedding as well.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float


@dataclass(frozen=True)
class DecoderConditioningConfig:
    """Describes a `DecoderConditioning`; the defaults are Karlo's.

    Attributes:
      embedding_width: of CLIP's embeddings and of its text transformer's states.
      pooled_width: of the vector for the decoder's time embedding.
      context_width: of the tokens that the decoder's attention sees.
      extra_tokens: how many of them are made of the image embedding.
    """

    embedding_width: int = 768
    pooled_width: int = 1280
    context_width: int = 1536
    extra_tokens: int = 4


class DecoderConditioning(nn.Module):
    """(image embedding, text) -> the `pooled`, `context` and `context_mask` of a `UNet`.

    `dtype` is what it computes in; None is float32.
    """

    config: DecoderConditioningConfig
    dtype: Any = None

    def setup(self) -> None:
        c = self.config
        dense = lambda width: nn.Dense(width, dtype=self.dtype)
        self.image_pooled, self.text_pooled = dense(c.pooled_width), dense(c.pooled_width)
        self.image_tokens = dense(c.extra_tokens * c.context_width)
        self.hidden_in = dense(c.context_width)
        self.hidden_norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        zeros = nn.initializers.zeros_init()
        self.null_embedding = self.param("null_embedding", zeros, (c.embedding_width,))

    def __call__(
        self,
        image: Float[Array, "b d"],
        text: Float[Array, "b d"],
        hidden: Float[Array, "b t d"],
        mask: Bool[Array, "b t"],
    ) -> dict[str, Array]:
        """Conditioning on CLIP's image embedding, text embedding and last text states [B, T, D]."""
        # Token j is made of rows j, j + n, j + 2n ... of the projection: Karlo's order.
        count = self.config.extra_tokens
        extra = rearrange(self.image_tokens(image), "b (w n) -> b n w", n=count)
        encoded = self.hidden_norm(self.hidden_in(hidden))
        always = jnp.ones((len(mask), count), bool)
        return {
            "pooled": self.image_pooled(image) + self.text_pooled(text),
            "context": jnp.concatenate([extra, encoded], axis=1),
            "context_mask": jnp.concatenate([always, mask], axis=1),
        }

    def unconditional(
        self, text: Float[Array, "b d"], hidden: Float[Array, "b t d"], mask: Bool[Array, "b t"]
    ) -> dict[str, Array]:
        """The same with the learned embedding that stands for no image; give the empty text."""
        image = jnp.broadcast_to(self.null_embedding, text.shape)
        return self(image, text, hidden, mask)
