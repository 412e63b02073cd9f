"""Attention against its formula, and which kernel is chosen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from clipdiff_jax.models import attention
from clipdiff_jax.models.attention import attend, choose_backend


def inputs(t=5, s=7, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 5)
    q = jax.random.normal(keys[0], (2, t, 3, 8), dtype)
    k, v = (jax.random.normal(key, (2, s, 3, 8), dtype) for key in keys[1:3])
    mask = jax.random.bernoulli(keys[3], 0.7, (2, 1, t, s)).at[..., 0].set(True)
    return q, k, v, mask, jax.random.normal(keys[4], (1, 3, t, s))


def by_hand(q, k, v, mask, bias, scale):
    logits = np.einsum("bthd,bshd->bhts", q, k) * scale + bias
    logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhts,bshd->bthd", weights, v)


def test_formula_with_mask_bias_and_scale():
    q, k, v, mask, bias = inputs()
    out = attend(q, k, v, mask=mask, bias=bias, scale=0.3)
    np.testing.assert_allclose(out, by_hand(q, k, v, mask, bias, 0.3), atol=1e-5)
    np.testing.assert_allclose(attend(q, k, v), by_hand(q, k, v, True, 0, 8**-0.5), atol=1e-5)


def test_causal_is_a_lower_triangular_mask():
    q, k, v, _, _ = inputs(6, 6)
    triangle = np.tril(np.ones((6, 6), bool))
    np.testing.assert_allclose(
        attend(q, k, v, is_causal=True), by_hand(q, k, v, triangle, 0, 8**-0.5), atol=1e-5
    )


@pytest.mark.parametrize(
    ("backend", "dtype", "head_dim", "length", "with_bias", "chosen"),
    [
        ("cpu", jnp.bfloat16, 64, 8, False, "xla"),
        ("gpu", jnp.bfloat16, 64, 8, False, "cudnn"),
        ("gpu", jnp.float16, 64, 7, False, "cudnn"),
        ("gpu", jnp.bfloat16, 64, 7, True, "xla"),
        ("gpu", jnp.bfloat16, 64, 8, True, "cudnn"),
        ("gpu", jnp.bfloat16, 12, 8, False, "xla"),
        ("gpu", jnp.bfloat16, 256, 8, False, "xla"),
        ("gpu", jnp.float32, 64, 8, False, "xla"),
        ("tpu", jnp.bfloat16, 64, 8, False, "xla"),
    ],
)
def test_choice_of_kernel(monkeypatch, backend, dtype, head_dim, length, with_bias, chosen):
    monkeypatch.setattr(attention.jax, "default_backend", lambda: backend)
    q = jnp.zeros((1, length, 1, head_dim), dtype)
    bias = jnp.zeros((1, 1, length, length)) if with_bias else None
    assert choose_backend(q, q, bias) == chosen
