"""The one place where attention is computed.

Every network calls `attend`; which kernel runs is decided here, from the backend, the dtype and
the shapes: cuDNN's flash attention on GPUs in half precision, XLA everywhere else.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Backend = Literal["auto", "xla", "cudnn"]

_CUDNN_MAX_HEAD_DIM = 128  # 256 from Hopper on; no network of ours has heads that wide


def attend(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s h d"],
    v: Float[Array, "b s h d"],
    *,
    mask: Bool[Array, "#b #h #t #s"] | None = None,
    bias: Float[Array, "#b #h #t #s"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Float[Array, "b t h d"]:
    """softmax(q k^T scale + bias) v, over the heads h separately (Vaswani et al., 2017, eq. 1).

    Args:
      q, k, v: queries, keys, values; the result has the queries' shape and dtype.
      mask: True where a query may look at a key.
      bias: added to the logits.
      is_causal: query i sees keys 0..i only.
      scale: d^-0.5 where None.
      backend: "auto" takes cuDNN where it can run (see `choose_backend`) and XLA otherwise; naming
        one insists on it, and cuDNN then raises what it does not support.
    """
    if backend == "auto":
        backend = choose_backend(q, k, bias)
    return jax.nn.dot_product_attention(
        q, k, v, bias=bias, mask=mask, is_causal=is_causal, scale=scale, implementation=backend
    )


def choose_backend(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s h d"],
    bias: Float[Array, "..."] | None = None,
) -> Literal["xla", "cudnn"]:
    """The fastest kernel that can do the forward *and* the backward pass of these shapes."""
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    head_dim = q.shape[-1]
    fits = head_dim % 8 == 0 and head_dim <= _CUDNN_MAX_HEAD_DIM
    # cuDNN differentiates through a bias only where both lengths are even.
    even = bias is None or (q.shape[1] % 2 == 0 and k.shape[1] % 2 == 0)
    return "cudnn" if jax.default_backend() == "gpu" and half and fits and even else "xla"
