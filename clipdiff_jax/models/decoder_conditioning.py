"""How unCLIP's decoder is told what to draw: embeddings and text made into its conditioning.

Ramesh et al. 2022, arXiv 2204.06125, section 2.1: the CLIP image embedding is projected and added
to the time embedding, and projected into a few extra tokens of context, which stand before the
encoded text. Karlo adds the projected CLIP text embedding to the time embedding as well, and takes
CLIP's last text states for the encoded text; the paper trains a text encoder of the decoder's own.
"""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.core.types import DType
from clipdiff_jax.models.clip import TextConfig, TextTransformer, unit


@dataclass(frozen=True)
class DecoderConditioningConfig:
    """Describes a `DecoderConditioning`; the defaults are Karlo's.

    Attributes:
      embedding_width: of CLIP's embeddings.
      hidden_width: of its text transformer's states; None where it is the same.
      pooled_width: of the vector for the decoder's time embedding.
      context_width: of the tokens that the decoder's attention sees.
      extra_tokens: how many of them are made of the image embedding.
      unit_norm: scale embeddings to length sqrt(embedding_width), so that only their direction
        counts, as it does for CLIP; Karlo takes them as they are.
      null: what stands for no image: a "learned" embedding or "zero".
      text_encoder: a text transformer of the decoder's own, trained with it, whose states and
        pooled state replace CLIP's; None takes CLIP's.
    """

    embedding_width: int = 768
    hidden_width: int | None = None
    pooled_width: int = 1280
    context_width: int = 1536
    extra_tokens: int = 4
    unit_norm: bool = False
    null: Literal["learned", "zero"] = "learned"
    text_encoder: TextConfig | None = None

    def __post_init__(self) -> None:
        if self.null not in ("learned", "zero"):
            raise ValueError(f"null must be 'learned' or 'zero', got {self.null!r}")

    @property
    def text_width(self) -> int:
        """Width of the states of CLIP's text transformer."""
        return self.embedding_width if self.hidden_width is None else self.hidden_width


class DecoderConditioning(nn.Module):
    """(image embedding, text) -> the `pooled`, `context` and `context_mask` of a `UNet`.

    `dtype` is what it computes in; None is float32.
    """

    config: DecoderConditioningConfig
    dtype: DType | None = None

    def setup(self) -> None:
        c = self.config
        dense = lambda width: nn.Dense(width, dtype=self.dtype)
        self.image_pooled, self.text_pooled = dense(c.pooled_width), dense(c.pooled_width)
        self.image_tokens = dense(c.extra_tokens * c.context_width)
        self.hidden_in = dense(c.context_width)
        self.hidden_norm = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype)
        zeros = nn.initializers.zeros_init()
        self.null_embedding = self.param("null_embedding", zeros, (c.embedding_width,), jnp.float32)
        if c.text_encoder is not None:
            self.text = TextTransformer(c.text_encoder, c.embedding_width, dtype=self.dtype)

    def __call__(
        self,
        image: Float[Array, "b d"],
        embedding: Float[Array, "b d"],
        hidden: Float[Array, "b t w"],
        mask: Bool[Array, "b t"],
        ids: Int[Array, "b t"],
        shown: Bool[Array, " b"] | None = None,
    ) -> dict[str, Array]:
        """Conditioning on a CLIP image embedding and on a text, by what CLIP makes of it.

        shown: False where the embedding that stands for no image takes the image's place.
        """
        c = self.config
        if c.text_encoder is not None:
            embedding, hidden = self.text(ids)
        if c.unit_norm:
            length = c.embedding_width**0.5
            image, embedding = length * unit(image), length * unit(embedding)
        if shown is not None:
            null = self.null_embedding
            null = jax.lax.stop_gradient(null) if c.null == "zero" else null
            image = jnp.where(shown[:, None], image, null)
        # Token j is made of rows j, j + n, j + 2n ... of the projection: Karlo's order.
        extra = rearrange(self.image_tokens(image), "b (w n) -> b n w", n=c.extra_tokens)
        encoded = self.hidden_norm(self.hidden_in(hidden))
        always = jnp.ones((len(mask), c.extra_tokens), bool)
        return {
            "pooled": self.image_pooled(image) + self.text_pooled(embedding),
            "context": jnp.concatenate([extra, encoded], axis=1),
            "context_mask": jnp.concatenate([always, mask], axis=1),
        }
