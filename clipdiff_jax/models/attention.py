"""The one place where attention is computed.

Every network calls `attend`; which kernel runs is decided here, from the platform compiled for, the
dtype and the shapes: cuDNN's flash attention on GPUs in half precision, XLA everywhere else.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from clipdiff_jax.core.compilation import Platform, target

Backend = Literal["auto", "xla", "cudnn"]

_CUDNN_MAX_HEAD_DIM = 128  # 256 from Hopper on; no network of ours has heads that wide


class Inputs(NamedTuple):
    """What attention is taken of; mask and bias broadcast to [B, H, T, S].

    keys: how many of the keys there are, where those past them are filling.
    """

    q: Float[Array, "b t h d"]
    k: Float[Array, "b s h d"]
    v: Float[Array, "b s h d"]
    mask: Bool[Array, "#b #h #t #s"] | None = None
    bias: Float[Array, "#b #h #t #s"] | None = None
    keys: int | None = None


def attend(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s h d"],
    v: Float[Array, "b s h d"],
    *,
    mask: Bool[Array, "#b #h #t #s"] | None = None,
    bias: Float[Array, "#b #h #t #s"] | None = None,
    is_causal: bool = False,
    backend: Backend = "auto",
) -> Float[Array, "b t h d"]:
    """softmax(q k^T d^-0.5 + bias) v, over the heads h separately (Vaswani et al., 2017, eq. 1).

    Args:
      q, k, v: queries, keys, values; the result has the queries' shape and dtype.
      mask: True where a query may look at a key.
      bias: added to the logits.
      is_causal: query i sees keys 0..i only.
      backend: "auto" takes cuDNN where it can run (see `choose_backend`) and XLA otherwise; naming
        one insists on it, and cuDNN then raises what it does not support.
    """
    inputs = Inputs(q, k, v, mask, bias)
    if backend == "auto":
        backend = choose_backend(q.dtype, q.shape[-1], target())
    if backend == "cudnn":
        inputs = for_cudnn(inputs, is_causal)
    return compute(inputs, is_causal, backend)[:, : q.shape[1]]


def compute(
    inputs: Inputs, is_causal: bool, backend: Literal["xla", "cudnn"]
) -> Float[Array, "b t h d"]:
    """Attention by one of the kernels, as they take it."""
    q, k, v, mask, bias, keys = inputs
    return jax.nn.dot_product_attention(
        q,
        k,
        v,
        bias=bias,
        mask=mask,
        is_causal=is_causal,
        key_value_seq_lengths=None if keys is None else jnp.full(len(k), keys, jnp.int32),
        implementation=backend,
    )


def choose_backend(
    dtype: jax.typing.DTypeLike, head_dim: int, platform: Platform
) -> Literal["xla", "cudnn"]:
    """The kernel that can do the forward *and* the backward pass of these heads, flash first."""
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    fits = head_dim % 8 == 0 and head_dim <= _CUDNN_MAX_HEAD_DIM
    return "cudnn" if platform == "gpu" and half and fits else "xla"


def for_cudnn(inputs: Inputs, is_causal: bool = False) -> Inputs:
    """The same attention as cuDNN takes it, with one query more where their number is odd.

    cuDNN differentiates where the numbers of queries and of keys are even, and wants a mask or a
    bias whole in both. So they are filled up with queries that nobody reads and keys that nobody
    sees.
    """
    q, k, v, mask, bias, _ = inputs
    queries, keys = q.shape[1], k.shape[1]
    odd = queries % 2, keys % 2

    def whole(array: Array, fill: bool | float) -> Array:
        array = jnp.broadcast_to(array, (*array.shape[:2], queries, keys))
        padding = ((0, 0), (0, 0), (0, odd[0]), (0, odd[1]))
        return jnp.pad(array, padding, constant_values=fill)

    def longer(array: Array, more: int) -> Array:
        return jnp.pad(array, ((0, 0), (0, more), (0, 0), (0, 0)))

    filled = Inputs(longer(q, odd[0]), longer(k, odd[1]), longer(v, odd[1]))
    if mask is None and bias is None:
        unseen = odd[1] == 0 or (is_causal and queries <= keys)  # by any query that is read
        return filled._replace(keys=None if unseen else keys)
    if mask is None and odd[1]:
        mask = jnp.ones((1, 1, 1, keys), bool)
    if mask is not None:
        # A query that nobody reads sees every key, so that its softmax is of something.
        filled = filled._replace(mask=whole(mask, False).at[:, :, queries:].set(True))
    return filled if bias is None else filled._replace(bias=whole(bias, 0.0))
