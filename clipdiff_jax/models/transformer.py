"""Pre-LN transformer blocks, scanned: one block is compiled, its parameters stacked over depth.

Both towers of CLIP and the priors are built of it. Because the blocks are one `lax.scan`, the
compile time does not grow with the depth, and every parameter has a leading axis of that length.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from clipdiff_jax.models.attention import attend

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
}


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate query, key, value and output projections."""

    heads: int
    causal: bool = False
    in_std: float = 0.02
    out_std: float = 0.02
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t w"], mask: Bool[Array, "#b #h #t #t"] | None = None
    ) -> Float[Array, "b t w"]:
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"a width of {width} does not split into {self.heads} heads")

        def project(name: str) -> Array:
            std = nn.initializers.normal(self.in_std)
            y = nn.Dense(width, kernel_init=std, dtype=self.dtype, name=name)(x)
            return y.reshape(*y.shape[:-1], self.heads, width // self.heads)

        q, k, v = project("query"), project("key"), project("value")
        y = attend(q, k, v, mask=mask, is_causal=self.causal).reshape(x.shape)
        out = nn.initializers.normal(self.out_std)
        return nn.Dense(width, kernel_init=out, dtype=self.dtype, name="out")(y)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); a `nn.scan` body: returns (x, None)."""

    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    causal: bool = False
    eps: float = 1e-5
    depth: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t w"], mask: Bool[Array, "#b #h #t #t"] | None = None
    ) -> tuple[Float[Array, "b t w"], None]:
        # CLIP's initialisation: residual branches are scaled down by the number of them.
        width = x.shape[-1]
        in_std = width**-0.5
        out_std = in_std * (2 * self.depth) ** -0.5
        norm = lambda name: nn.LayerNorm(epsilon=self.eps, dtype=self.dtype, name=name)
        attention = SelfAttention(
            self.heads, self.causal, in_std, out_std, self.dtype, name="attention"
        )
        x = x + attention(norm("norm1")(x), mask)
        up_init = nn.initializers.normal((2 * width) ** -0.5)
        down_init = nn.initializers.normal(out_std)
        y = norm("norm2")(x)
        y = nn.Dense(self.mlp_width, kernel_init=up_init, dtype=self.dtype, name="mlp_up")(y)
        y = ACTIVATIONS[self.activation](y)
        y = nn.Dense(width, kernel_init=down_init, dtype=self.dtype, name="mlp_down")(y)
        return x + y, None


class Transformer(nn.Module):
    """`depth` blocks; parameters under "blocks", each with a leading axis of `depth`.

    Attributes:
      depth, heads, mlp_width, activation: the usual.
      causal: position i sees 0..i only.
      eps: of the layer norms.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: what it computes in; None is float32.
    """

    depth: int
    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    causal: bool = False
    eps: float = 1e-5
    remat: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t w"], mask: Bool[Array, "#b #h #t #t"] | None = None
    ) -> Float[Array, "b t w"]:
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        blocks = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=nn.broadcast,
            length=self.depth,
        )
        body = blocks(
            heads=self.heads,
            mlp_width=self.mlp_width,
            activation=self.activation,
            causal=self.causal,
            eps=self.eps,
            depth=self.depth,
            dtype=self.dtype,
            name="blocks",
        )
        x, _ = body(x.astype(self.dtype or jnp.float32), mask)
        return x
