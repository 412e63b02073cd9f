"""Pre-LN transformer blocks, scanned: one block is compiled, its parameters stacked over depth.

Both towers of CLIP and the priors are built of it. Because the blocks are one `lax.scan`, the
compile time does not grow with the depth, and every parameter has a leading axis of that length.

A causal transformer can also walk along a sequence: `extend` takes the next positions and a `Cache`
of the keys and values of those before, and costs what the new positions cost.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from clipdiff_jax.core.devices import keep_batch_split
from clipdiff_jax.core.types import DType
from clipdiff_jax.models.attention import attend

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "silu"]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
}


class KeyValues(NamedTuple):
    """Keys and values of some positions, of one block or (with a leading axis) of all."""

    keys: Float[Array, "*depth b s h d"]
    values: Float[Array, "*depth b s h d"]

    def write(self, new: "KeyValues", start: Int[Array, ""]) -> "KeyValues":
        """The same with those of the new positions from position `start` on."""

        def put(old: Array, part: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(old, part.astype(old.dtype), start, axis=-3)

        return KeyValues(put(self.keys, new.keys), put(self.values, new.values))


class Cache(NamedTuple):
    """What `Transformer.extend` remembers: of S positions the first `length` are filled."""

    past: KeyValues
    length: Int[Array, ""]


class SelfAttention(nn.Module):
    """Multi-head self-attention with separate query, key, value and output projections.

    With a `cache` (of this block) x stands at the positions from `cache.length` on and sees those
    before it too; the mask is then over the cache's positions.
    """

    heads: int
    causal: bool = False
    in_std: float = 0.02
    out_std: float = 0.02
    dtype: DType | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t w"],
        mask: Bool[Array, "#b #h #t #s"] | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "b t w"], KeyValues]:
        """(the output, keys and values of x)."""
        width = x.shape[-1]
        if width % self.heads:
            raise ValueError(f"a width of {width} does not split into {self.heads} heads")

        def project(name: str) -> Array:
            std = nn.initializers.normal(self.in_std)
            y = nn.Dense(width, kernel_init=std, dtype=self.dtype, name=name)(x)
            return y.reshape(*y.shape[:-1], self.heads, width // self.heads)

        q, new = project("query"), KeyValues(project("key"), project("value"))
        if cache is None:
            y = attend(q, *new, mask=mask, is_causal=self.causal)
        else:
            seen = _up_to(cache, x.shape[1])
            seen = seen if mask is None else seen & mask
            y = attend(q, *cache.past.write(new, cache.length), mask=seen)
        out = nn.initializers.normal(self.out_std)
        y = nn.Dense(width, kernel_init=out, dtype=self.dtype, name="out")(y.reshape(x.shape))
        return y, new


def _up_to(cache: Cache, new: int) -> Bool[Array, "1 1 new s"]:
    """Which positions each of the new ones sees: all up to itself."""
    positions = jnp.arange(cache.past.keys.shape[-3])
    return (positions <= cache.length + jnp.arange(new)[:, None])[None, None]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    A `nn.scan` body: returns (x, None), with a cache (x, keys and values of x), and where states
    are kept (x, x).
    """

    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    causal: bool = False
    eps: float = 1e-5
    depth: int = 1
    dtype: DType | None = None
    keep_states: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b t w"],
        mask: Bool[Array, "#b #h #t #s"] | None = None,
        past: KeyValues | None = None,
        length: Int[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b t w"], KeyValues | Float[Array, "b t w"] | None]:
        # CLIP's initialisation: residual branches are scaled down by the number of them.
        width = x.shape[-1]
        in_std = width**-0.5
        out_std = in_std * (2 * self.depth) ** -0.5
        norm = lambda name: nn.LayerNorm(epsilon=self.eps, dtype=self.dtype, name=name)
        attention = SelfAttention(
            self.heads, self.causal, in_std, out_std, self.dtype, name="attention"
        )
        cache = None if past is None or length is None else Cache(past, length)
        x = keep_batch_split(x)
        attended, new = attention(norm("norm1")(x), mask, cache)
        x = keep_batch_split(x + attended)
        up_init = nn.initializers.normal((2 * width) ** -0.5)
        down_init = nn.initializers.normal(out_std)
        y = norm("norm2")(x)
        y = nn.Dense(self.mlp_width, kernel_init=up_init, dtype=self.dtype, name="mlp_up")(y)
        y = keep_batch_split(y)
        y = ACTIVATIONS[self.activation](y)
        y = nn.Dense(width, kernel_init=down_init, dtype=self.dtype, name="mlp_down")(y)
        if self.keep_states:
            return x + y, x + y
        return x + y, None if cache is None else new


class Transformer(nn.Module):
    """`depth` blocks; parameters under "blocks", each with a leading axis of `depth`.

    Attributes:
      depth, heads, mlp_width, activation: the usual.
      causal: position i sees 0..i only.
      eps: of the layer norms.
      remat: recompute each block in the backward pass instead of keeping its activations.
      dtype: what it computes in; None is float32.
      keep_states: `states` can be asked, in place of `extend`.
    """

    depth: int
    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    causal: bool = False
    eps: float = 1e-5
    remat: bool = False
    dtype: DType | None = None
    keep_states: bool = False

    def setup(self) -> None:
        block = nn.remat(Block, prevent_cse=False) if self.remat else Block
        blocks = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(nn.broadcast, 0, nn.broadcast),
            length=self.depth,
        )
        self.blocks = blocks(
            heads=self.heads,
            mlp_width=self.mlp_width,
            activation=self.activation,
            causal=self.causal,
            eps=self.eps,
            depth=self.depth,
            dtype=self.dtype,
            keep_states=self.keep_states,
        )

    def __call__(
        self, x: Float[Array, "b t w"], mask: Bool[Array, "#b #h #t #t"] | None = None
    ) -> Float[Array, "b t w"]:
        """The last states of a whole sequence."""
        x, _ = self.blocks(x.astype(self.dtype or jnp.float32), mask, None, None)
        return x

    def states(
        self, x: Float[Array, "b t w"], mask: Bool[Array, "#b #h #t #t"] | None = None
    ) -> Float[Array, "depth b t w"]:
        """The states after each block, of a transformer that keeps them."""
        states: Any
        _, states = self.blocks(x.astype(self.dtype or jnp.float32), mask, None, None)
        return states

    def extend(
        self,
        x: Float[Array, "b t w"],
        cache: Cache,
        mask: Bool[Array, "#b #h #t s"] | None = None,
    ) -> tuple[Float[Array, "b t w"], Cache]:
        """The last states of the next t positions of a sequence, and the cache with them in it.

        mask: over the S positions of the cache. Beyond S it would overwrite the last: keep count.
        Raises `ValueError` unless the transformer is causal, and for one that keeps states.
        """
        if not self.causal or self.keep_states:
            raise ValueError(
                "only a causal transformer can be extended position by position, and none that "
                "keeps its states"
            )
        past, length = cache
        new: Any
        x, new = self.blocks(x.astype(self.dtype or jnp.float32), mask, past, length)
        return x, Cache(past.write(new, length), length + x.shape[1])

    def empty_cache(self, batch: int, positions: int, width: int) -> Cache:
        """The cache of `batch` sequences of up to `positions` states of `width`, none there yet."""
        shape = (self.depth, batch, positions, self.heads, width // self.heads)
        zeros = jnp.zeros(shape, self.dtype or jnp.float32)
        return Cache(KeyValues(zeros, zeros), jnp.zeros((), jnp.int32))
